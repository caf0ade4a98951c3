"""The services that all programs are measured on: two S3 gateways over directories, and one service for our ledger."""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import boto3
import botocore.config

HERE = pathlib.Path(__file__).resolve().parent
SERVICES = HERE.parent.parent / "kind-tests" / "services"
ACCESS, SECRET, REGION = "testuser", "testsecret", "us-east-1"


def script(name, *arguments):
    """What a script of kind-tests/services prints: the path of a program that it made."""
    done = subprocess.run(["bash", SERVICES / name, *arguments], check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip()


def client(service, endpoint):
    config = botocore.config.Config(s3={"addressing_style": "path"}, retries={"max_attempts": 3})
    return boto3.client(service, endpoint_url=endpoint, region_name=REGION, aws_access_key_id=ACCESS,
                        aws_secret_access_key=SECRET, config=config)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A server under way. It ends with the block that it was started in."""

    def __init__(self, name, make_command, directory, environment=None):
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.log = open(directory / f"{name}.log", "wb")
        kept = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
        self.process = subprocess.Popen(
            make_command(self.port), env=kept | (environment(self.port) if environment else {}), cwd=directory,
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)

    def __enter__(self):
        deadline = time.monotonic() + 60
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.__exit__()
                sys.exit(f"failed to start a server: see {self.log.name}")
            time.sleep(0.1)
        return self

    def answers(self):
        try:
            urllib.request.urlopen(self.endpoint, timeout=5)
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True

    def cpu(self):
        """Seconds of processor so far."""
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


def gateway(name, directory):
    """An S3 gateway over `directory/name`: its buckets are the directories there."""
    program = script("servers.sh", "versitygw")
    data = directory / name
    data.mkdir(exist_ok=True)
    return Server(name, lambda port: [
        program, "--port", f"127.0.0.1:{port}", "--access", ACCESS, "--secret", SECRET, "--keep-alive", "posix", data,
    ], directory)


def control(directory):
    """SQS and DynamoDB."""
    python = pathlib.Path(script("venv.sh")) / "bin" / "python"
    environment = lambda port: {
        "BIND_HOST": "127.0.0.1", "MINISTACK_HOST": "127.0.0.1", "GATEWAY_PORT": str(port),
        "SERVICES": "sqs,dynamodb,iam,sts", "SFTP_ENABLED": "0", "IOT_MTLS_ENABLED": "0", "LOG_LEVEL": "WARNING",
    }
    return Server("control", lambda _: [python, SERVICES / "start_ministack.py"], directory, environment)
