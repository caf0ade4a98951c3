"""The services that all programs are measured on, and what is between them."""

import collections
import json
import os
import pathlib
import re
import signal
import socket
import ssl
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
# Counts of the computed service that are no requests.
NOT_REQUESTS = ("bytes received", "parts received", "parts received again", "parts broken off")


def script(name, *arguments):
    """What a script of kind-tests/services prints: the path of a program that it made."""
    done = subprocess.run(["bash", SERVICES / name, *arguments], check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip()


def client(service, endpoint, authority=None):
    config = botocore.config.Config(s3={"addressing_style": "path"}, retries={"max_attempts": 3})
    return boto3.client(service, endpoint_url=endpoint, region_name=REGION, aws_access_key_id=ACCESS,
                        aws_secret_access_key=SECRET, config=config, verify=authority and str(authority))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A server under way. It ends with the block that it was started in."""

    def __init__(self, name, make_command, directory, environment=None, scheme="http"):
        self.port = free_port()
        self.endpoint = f"{scheme}://127.0.0.1:{self.port}"
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
            socket.create_connection(("127.0.0.1", self.port), 5).close()
        except OSError:
            return False
        return True

    def cpu(self):
        """Seconds of processor so far."""
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def pin(self, cores):
        """Moves all threads to these cores."""
        for thread in os.listdir(f"/proc/{self.process.pid}/task"):
            os.sched_setaffinity(int(thread), cores)

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


class Gateway(Server):
    """An S3 gateway over `directory/name`: its buckets are the directories there."""

    authority = None

    def __init__(self, name, directory):
        program = script("servers.sh", "versitygw")
        self.data = directory / name
        self.data.mkdir(exist_ok=True)
        super().__init__(name, lambda port: [
            program, "--port", f"127.0.0.1:{port}", "--access", ACCESS, "--secret", SECRET, "--keep-alive", "posix",
            self.data,
        ], directory)

    def answers(self):
        try:
            urllib.request.urlopen(self.endpoint, timeout=5)
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True

    def counts(self):
        """How many requests came so far, by method."""
        # Lines of concurrent requests run into each other.
        text = pathlib.Path(self.log.name).read_text(encoding="utf-8", errors="replace")
        return collections.Counter(re.findall(r"\| (GET|HEAD|PUT|POST|DELETE)", text))


class Counted(Server):
    """A server of the tools, which tells what it counts."""

    authority = None

    def __init__(self, name, tools, command, arguments, directory, **settings):
        self.told = free_port()
        super().__init__(name, lambda port: [tools, command, "--port", str(port), "--counts", str(self.told),
                                             *map(str, arguments)], directory, **settings)

    def answers(self):
        try:
            self.counts()
        except OSError:
            return False
        return super().answers()

    def counts(self):
        """What was counted so far, by name."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.told}", timeout=5) as answer:
            return collections.Counter(json.load(answer))


def memory(name, tools, directory):
    """The S3 server of the demo, in memory."""
    return Counted(name, tools, "serve-s3", ["--access", ACCESS], directory, environment=lambda _: {"SECRET": SECRET})


class Computed(Counted):
    """The service whose objects are computed; over TLS if there are certificates."""

    def __init__(self, name, tools, directory, certificates=None, unchecked=False):
        arguments = ["--unchecked"] if unchecked else []
        if certificates:
            arguments += ["--certificate", certificates / "service.pem", "--key", certificates / "service.key"]
        self.authority = certificates and certificates / "ca.pem"
        super().__init__(name, tools, "computed", arguments, directory, scheme="https" if certificates else "http")

    def fill(self, bucket, objects):
        """Adds objects, given as pairs of size and key."""
        self.administer("PUT", bucket, "\n".join(f"{size} {key}" for size, key in objects).encode())

    def drop(self, bucket):
        self.administer("DELETE", bucket)

    def administer(self, method, bucket, body=None):
        context = ssl.create_default_context(cafile=str(self.authority)) if self.authority else None
        request = urllib.request.Request(f"{self.endpoint}/-/{bucket}", data=body, method=method)
        urllib.request.urlopen(request, timeout=600, context=context).close()


def link(name, tools, to, directory, round_trip=0, rate=None):
    """A link to a server, which counts requests of the AWS JSON protocol. Has the same endpoint, but for the port."""
    arguments = ["--to", to.port, "--round-trip", round_trip] + (["--rate", rate] if rate else [])
    return Counted(name, tools, "link", arguments, directory, scheme=to.endpoint.partition(":")[0])


def gateway(name, directory):
    return Gateway(name, directory)


def java(name, directory, arguments):
    jars = script("java.sh", name)
    return ["java", "-Xmx512m", "-cp", f"{jars}/*", f"-Djava.library.path={jars}", *arguments(directory)]


def elasticmq(directory):
    """SQS."""
    def command(port):
        config = directory / "elasticmq.conf"
        config.write_text(
            'include classpath("application.conf")\n'
            f'node-address {{ protocol = http, host = "127.0.0.1", port = {port}, context-path = "" }}\n'
            f'rest-sqs {{ enabled = true, bind-port = {port}, bind-hostname = "127.0.0.1", sqs-limits = strict }}\n'
            f'rest-stats {{ enabled = false }}\naws {{ region = {REGION}, accountId = 000000000000 }}\n')
        return java("elasticmq", directory, lambda _: [f"-Dconfig.file={config}", "org.elasticmq.server.Main"])
    return Server("elasticmq", command, directory)


def dynamodb(directory):
    """DynamoDB."""
    return Server("dynamodb", lambda port: java("dynamodb-local", directory, lambda _: [
        "com.amazonaws.services.dynamodbv2.local.main.ServerRunner", "-inMemory", "-sharedDb", "-disableTelemetry",
        "-port", str(port)]), directory)


def control(directory):
    """SQS and DynamoDB in one process."""
    python = pathlib.Path(script("venv.sh")) / "bin" / "python"
    environment = lambda port: {
        "BIND_HOST": "127.0.0.1", "MINISTACK_HOST": "127.0.0.1", "GATEWAY_PORT": str(port),
        "SERVICES": "sqs,dynamodb,iam,sts", "SFTP_ENABLED": "0", "IOT_MTLS_ENABLED": "0", "LOG_LEVEL": "WARNING",
    }
    return Server("control", lambda _: [python, SERVICES / "start_ministack.py"], directory, environment)


def make_table(dynamodb, name="ledger"):
    dynamodb.create_table(
        TableName=name, BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")])


def certificates(directory):
    """An authority that nobody trusts, and a service's certificate by it, for 127.0.0.1."""
    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    openssl = lambda *arguments: subprocess.run(["openssl", "req", "-x509", *arguments], check=True, cwd=directory,
                                                stderr=subprocess.DEVNULL)
    openssl(*new, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=an authority of the benchmark",
            "-addext", "keyUsage=critical,keyCertSign")
    openssl(*new, "-keyout", "service.key", "-out", "service.pem", "-CA", "ca.pem", "-CAkey", "ca.key",
            "-subj", "/CN=a service of the benchmark", "-addext", "subjectAltName=IP:127.0.0.1",
            "-addext", "basicConstraints=critical,CA:FALSE")
    return directory
