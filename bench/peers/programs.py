"""The programs that are measured, what they are told, and what they say."""

import json
import os
import pathlib
import re
import subprocess
import time

from services import ACCESS, REGION, SECRET, script

LIMIT = 3_600


class Measured:
    """What one run of a program took, and what it found."""

    def __init__(self, seconds, cpu, memory, found):
        self.seconds, self.cpu, self.memory, self.found = seconds, cpu, memory, found


def run(command, environment, output):
    """Runs a program to its end; gives seconds, seconds of processor, and bytes of memory at the peak."""
    kept = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
    with open(output, "wb") as file:
        began = time.monotonic()
        process = subprocess.Popen(command, env=kept | environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{command[0]} ended with {process.returncode}: {pathlib.Path(output).read_text()[-2000:]}")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024


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
        self.environment = {"RCLONE_CONFIG": str(directory / "rclone.conf")}
        (directory / "rclone.conf").touch()
        for side, endpoint in (("SRC", source), ("DST", destination)):
            for key, value in (("TYPE", "s3"), ("PROVIDER", "Other"), ("ENDPOINT", endpoint), ("REGION", REGION),
                               ("ACCESS_KEY_ID", ACCESS), ("SECRET_ACCESS_KEY", SECRET), ("FORCE_PATH_STYLE", "true")):
                self.environment[f"RCLONE_CONFIG_{side}_{key}"] = value

    def version(self):
        line = (pathlib.Path(__file__).parent.parent.parent / "kind-tests/services/servers.txt").read_text()
        return re.search(r"^rclone \S+ v(\S+)$", line, re.MULTILINE)[1]

    def measure(self, way):
        output = self.directory / "rclone.log"
        flag = {"size": "--size-only", "content": "--checksum"}[way]
        took = run([self.program, "copy", "--dry-run", "--checkers", "16", "--stats", "0", flag,
                    "src:source", "dst:destination"], self.environment, output)
        with open(output, encoding="utf-8") as lines:
            return Measured(*took, sum("Skipped copy" in line or "Skipped update" in line for line in lines))
