"""The programs that are measured, what they are told, and what they say."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

from services import ACCESS, HERE, REGION, SECRET, SERVICES, script


class Measured:
    """What one run of a program took, and what it found."""

    def __init__(self, seconds, cpu, memory, found):
        self.seconds, self.cpu, self.memory, self.found = seconds, cpu, memory, found


class Running:
    """A program under way. It is killed where the block that it was started in ends first."""

    def __init__(self, command, environment, output, cores=None, group=None):
        kept = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
        self.name, self.output = command[0], pathlib.Path(output)
        self.report, self.pid_file = pathlib.Path(f"{output}.took"), pathlib.Path(f"{output}.took.pid")
        self.pid_file.unlink(missing_ok=True)
        pinned = ["taskset", "-c", ",".join(map(str, cores))] if cores else []
        if group:
            pinned = ["sh", "-c", 'echo $$ >"$0/cgroup.procs"; exec "$@"', group, *pinned]
        with open(output, "wb") as file:
            self.launcher = subprocess.Popen(
                [*pinned, sys.executable, "-I", "-S", HERE / "launch.py", self.report, *command],
                env=kept | environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.launcher.poll() is None:
            self.send(signal.SIGKILL)
            self.launcher.wait()

    def send(self, number):
        """Sends a signal to the program, unless it has ended."""
        while not self.pid_file.exists() and self.launcher.poll() is None:
            time.sleep(0.01)
        if self.launcher.poll() is None:
            os.kill(int(self.pid_file.read_text()), number)

    def wait(self, seconds=None):
        """Waits for the end; true if it came in time."""
        try:
            self.launcher.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def took(self, codes=(0,)):
        """Seconds, seconds of processor of it and of those that it started, and bytes of memory at the peak. Fails
        unless it ends with one of these codes."""
        self.launcher.wait()
        took = json.loads(self.report.read_text()) if self.launcher.returncode == 0 else {"code": None}
        if took["code"] not in codes:
            words = self.output.read_text(errors="replace")[-2000:]
            raise SystemExit(f"{self.name} ended with {took['code']}: {words}")
        return took["seconds"], took["cpu"], took["memory"]


def run(command, environment, output, cores=None):
    """Runs a program to its end; gives what `took` gives."""
    with Running(command, environment, output, cores) as running:
        return running.took()


def go_version(name):
    """The version of a program of servers.txt."""
    return re.search(rf"^{name} \S+ v(\S+)$", (SERVICES / "servers.txt").read_text(), re.MULTILINE)[1]


def rclone_remotes(directory, source, destination, authority=None):
    """The environment in which rclone has the remotes `src` and `dst`, and trusts an authority."""
    (directory / "rclone.conf").touch()
    environment = {"RCLONE_CONFIG": str(directory / "rclone.conf")}
    if authority:
        environment["RCLONE_CA_CERT"] = str(authority)
    for side, endpoint in (("SRC", source), ("DST", destination)):
        for key, value in (("TYPE", "s3"), ("PROVIDER", "Other"), ("ENDPOINT", endpoint), ("REGION", REGION),
                           ("ACCESS_KEY_ID", ACCESS), ("SECRET_ACCESS_KEY", SECRET), ("FORCE_PATH_STYLE", "true")):
            environment[f"RCLONE_CONFIG_{side}_{key}"] = value
    return environment


def write_keys(directory):
    """The directory with the access key of all services, as a mounted Secret has it."""
    keys = directory / "keys"
    keys.mkdir(exist_ok=True)
    (keys / "AWS_ACCESS_KEY_ID").write_text(ACCESS)
    (keys / "AWS_SECRET_ACCESS_KEY").write_text(SECRET)
    return keys


def job_config(job, keys, source, destination, queues, ledger, queue, authority=None):
    """The configuration of jobsender and worker, as the operator writes it for a resource that sets nothing. Source and
    destination are pairs of bucket and endpoint."""
    service = lambda endpoint: {
        "region": REGION, "endpoint": endpoint, "credentials": {"type": "directory", "path": str(keys)}}
    trusted = {"caBundle": {"path": str(authority)}} if authority else {}
    side = lambda endpoint: service(endpoint) | {"pathStyle": True} | trusted
    url = f"{queues}/000000000000/{queue}"
    return {
        "version": 1,
        "job": {"namespace": "default", "name": job, "uid": job},
        "buckets": [{"sourceBucket": source[0], "destinationBucket": destination[0]}],
        "source": side(source[1]),
        "destination": side(destination[1]),
        "transfer": {"partSize": "Auto", "multipartThreshold": "16Mi", "partsPerFile": 4,
                     "memoryLimit": "256Mi", "maxAttempts": 5},
        "queue": service(queues) | {"url": url, "deadLetterUrl": f"{url}-dead"},
        "ledger": service(ledger) | {"table": "ledger"},
    }


class Ours:
    """`jobsender plan`."""

    def __init__(self, programs, directory, source, destination, control):
        self.name, self.directory = "s3-migration-operator", directory
        self.program = programs / "jobsender"
        keys = write_keys(directory)
        self.config = job_config(
            "peers", keys, ("source", source), ("destination", destination), control, control, "none")

    def version(self):
        return subprocess.run([self.program, "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout.split()[-1]

    def measure(self, way):
        config = self.directory / "job.yaml"
        # JSON is YAML.
        config.write_text(json.dumps(self.config | {"compare": {"size": "Size", "content": "ETag"}[way]}))
        output = self.directory / "ours.log"
        took = run([self.program, "--config", config, "plan", "--output", "json"], {}, output)
        plan = next(line for line in output.read_text().splitlines() if line.startswith('{"transfer"'))
        sums = json.loads(plan)
        return Measured(*took, sums["transfer"]["objects"] + sums["update"]["objects"])


class Rclone:
    """`rclone copy --dry-run --checkers 16`, a listing for each directory: with `--fast-list` it took longer here and 1.2 GiB."""

    def __init__(self, directory, source, destination):
        self.name, self.directory = "rclone", directory
        self.program = script("servers.sh", "rclone")
        self.environment = rclone_remotes(directory, source, destination)

    def version(self):
        return go_version("rclone")

    def measure(self, way):
        output = self.directory / "rclone.log"
        flag = {"size": "--size-only", "content": "--checksum"}[way]
        took = run([self.program, "copy", "--dry-run", "--checkers", "16", "--stats", "0", flag,
                    "src:source", "dst:destination"], self.environment, output)
        with open(output, encoding="utf-8") as lines:
            return Measured(*took, sum("Skipped copy" in line or "Skipped update" in line for line in lines))
