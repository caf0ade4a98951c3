"""The programs that are measured, what they are told, and what they say."""

import json
import os
import pathlib
import re
import subprocess
import sys

from services import ACCESS, HERE, REGION, SECRET, SERVICES, script


class Measured:
    """What one run of a program took, and what it found."""

    def __init__(self, seconds, cpu, memory, found):
        self.seconds, self.cpu, self.memory, self.found = seconds, cpu, memory, found


def run(command, environment, output):
    """Runs a program to its end; gives seconds, seconds of processor of it and of those that it started, and bytes of
    memory at the peak."""
    kept = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
    report = pathlib.Path(f"{output}.took")
    with open(output, "wb") as file:
        subprocess.run([sys.executable, "-I", "-S", HERE / "launch.py", report, *command], check=True,
                       env=kept | environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
    took = json.loads(report.read_text())
    if took["code"] != 0:
        raise SystemExit(f"{command[0]} ended with {took['code']}: {pathlib.Path(output).read_text()[-2000:]}")
    return took["seconds"], took["cpu"], took["memory"]


def go_version(name):
    """The version of a program of servers.txt."""
    return re.search(rf"^{name} \S+ v(\S+)$", (SERVICES / "servers.txt").read_text(), re.MULTILINE)[1]


def rclone_remotes(directory, source, destination):
    """The environment in which rclone has the remotes `src` and `dst`."""
    (directory / "rclone.conf").touch()
    environment = {"RCLONE_CONFIG": str(directory / "rclone.conf")}
    for side, endpoint in (("SRC", source), ("DST", destination)):
        for key, value in (("TYPE", "s3"), ("PROVIDER", "Other"), ("ENDPOINT", endpoint), ("REGION", REGION),
                           ("ACCESS_KEY_ID", ACCESS), ("SECRET_ACCESS_KEY", SECRET), ("FORCE_PATH_STYLE", "true")):
            environment[f"RCLONE_CONFIG_{side}_{key}"] = value
    return environment


class Ours:
    """`jobsender plan`."""

    def __init__(self, programs, directory, source, destination, control):
        self.name, self.directory = "s3-migration-operator", directory
        self.program = programs / "jobsender"
        keys = directory / "keys"
        keys.mkdir()
        (keys / "AWS_ACCESS_KEY_ID").write_text(ACCESS)
        (keys / "AWS_SECRET_ACCESS_KEY").write_text(SECRET)
        service = lambda endpoint: {
            "region": REGION, "endpoint": endpoint, "credentials": {"type": "directory", "path": str(keys)}}
        self.config = {
            "version": 1,
            "job": {"namespace": "default", "name": "peers", "uid": "peers"},
            "buckets": [{"sourceBucket": "source", "destinationBucket": "destination"}],
            "source": service(source) | {"pathStyle": True},
            "destination": service(destination) | {"pathStyle": True},
            "transfer": {"partSize": "Auto", "multipartThreshold": "16Mi", "filesPerWorker": 8, "partsPerFile": 4,
                         "memoryLimit": "256Mi", "maxAttempts": 5},
            "queue": service(control) | {"url": f"{control}/000000000000/none", "deadLetterUrl": f"{control}/none"},
            "ledger": service(control) | {"table": "ledger"},
        }

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
