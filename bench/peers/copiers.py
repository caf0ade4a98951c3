"""The programs that copy, each with one command, and what they are told."""

import pathlib
import shutil
import subprocess
import tempfile

from programs import go_version, rclone_remotes, run
from services import ACCESS, HERE, REGION, SECRET, script

KEYS = {"AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": REGION}


def printed_version(program):
    """The number in what `PROGRAM --version` prints first."""
    printed = subprocess.run([program, "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout
    return next(word.strip("v(),") for word in printed.split() if word.strip("v").startswith(tuple("0123456789")))


class Copier:
    """A program that copies a bucket with one command."""

    def __init__(self, name, directory, source, destination):
        self.name, self.directory, self.source, self.destination = name, directory, source, destination

    def version(self):
        return printed_version(self.program)

    def environment(self):
        return KEYS

    def measure(self, bucket, target):
        """Copies all of a bucket of the source into one of the destination; gives what `run` gives."""
        return run(self.command(bucket, target), self.environment(), self.directory / f"{self.name}.log")

    def explain(self):
        """The command, without the endpoints and the buckets."""
        return " ".join([pathlib.Path(self.program).name.split("-")[0], *self.options])


class S3migrate(Copier):
    def __init__(self, programs, states, *services):
        super().__init__("s3migrate", *services)
        self.program, self.states, self.options = programs / "s3migrate", states, ["copy"]

    def measure(self, bucket, target):
        self.state = tempfile.mkdtemp(prefix="copy-peers-", dir=self.states)
        try:
            return super().measure(bucket, target)
        finally:
            shutil.rmtree(self.state)

    def command(self, bucket, target):
        return [self.program, *self.options, f"s3://{bucket}", f"s3://{target}", "--state-dir", self.state,
                "--source-endpoint", self.source, "--destination-endpoint", self.destination]


class Rclone(Copier):
    TUNED = ["--transfers", "16", "--checkers", "16", "--fast-list", "--use-server-modtime",
             "--s3-no-head", "--s3-no-check-bucket", "--s3-chunk-size", "16Mi"]

    def __init__(self, name, options, *services):
        super().__init__(name, *services)
        self.program, self.options = script("servers.sh", "rclone"), ["copy", *options]

    def version(self):
        return go_version("rclone")

    def environment(self):
        return rclone_remotes(self.directory, self.source, self.destination)

    def command(self, bucket, target):
        return [self.program, *self.options, f"src:{bucket}", f"dst:{target}"]


class S3sync(Copier):
    def __init__(self, *services):
        super().__init__("s3sync", *services)
        self.program, self.options = script(HERE / "s3sync.sh"), []

    def command(self, bucket, target):
        return [self.program, *self.options, f"s3://{bucket}", f"s3://{target}",
                "--source-endpoint-url", self.source, "--source-force-path-style",
                "--target-endpoint-url", self.destination, "--target-force-path-style"]
