"""The programs that copy, each with one command, and what they are told."""

import contextlib
import itertools
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import urllib.request

from presign import Signer
from programs import Running, go_version, job_config, rclone_remotes, run, write_keys
from services import ACCESS, HERE, REGION, SECRET, client, free_port, script

KEYS = {"AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": REGION}
MIB = 2**20
# Size from which the raw clients copy in parts, and size of these.
PART = 16 * MIB


def printed_version(program):
    """The number in what `PROGRAM --version` prints first."""
    printed = subprocess.run([program, "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout
    return next(word.strip("v(),") for word in printed.split() if word.strip("v").startswith(tuple("0123456789")))


class Copier:
    """A program that copies a bucket with one command."""

    def __init__(self, name, place):
        self.name, self.place, self.cores = name, place, None
        self.directory = place.directory

    def version(self):
        return printed_version(self.program)

    def environment(self):
        # The programs that have no option for it look there for authorities.
        return KEYS | ({"SSL_CERT_FILE": str(self.place.authority)} if self.place.authority else {})

    def log(self):
        return self.directory / f"{self.name.replace(' ', '-')}.log"

    def measure(self, bucket, target):
        """Copies all of a bucket of the source into one of the destination; gives what `run` gives."""
        return run(self.command(bucket, target), self.environment(), self.log(), self.cores)

    def control(self):
        """The requests to queue and ledger so far."""
        return {}

    def explain(self):
        """The command, without the endpoints and the buckets."""
        return " ".join([pathlib.Path(self.program).name.split("-")[0], *self.options])


class Kills:
    """Kills a program every so many seconds that it copies, and starts it again."""

    def __init__(self, every, counts):
        self.every, self.counts, self.lost = every, counts, []

    def spare(self, running, has_ended):
        """Waits until a program has sent parts for so many seconds; false if it was killed then, since it had not
        ended. What is in flight is looked at while it stands still."""
        # A link passes on for a while what a program sent before it was killed: bytes alone don't show the new one.
        before, began = self.counts()["UploadPart"], None
        while not has_ended():
            if began is None and self.counts()["UploadPart"] > before:
                began = time.monotonic()
            if began is not None and time.monotonic() > began + self.every:
                running.send(signal.SIGSTOP)
                self.lost.append(self.in_flight())
                running.send(signal.SIGKILL)
                return False
        return True

    def in_flight(self):
        """How many parts the destination is receiving."""
        counts = self.counts()
        return counts["UploadPart"] - counts["parts received"] - counts["parts broken off"]


class S3migrate(Copier):
    def __init__(self, place, options=()):
        super().__init__("s3migrate", place)
        self.program, self.options = place.programs / "s3migrate", ["copy", *options]

    def measure(self, bucket, target):
        with self.new_state():
            return super().measure(bucket, target)

    def new_state(self):
        state = tempfile.TemporaryDirectory(prefix="bench-", dir=self.place.states)
        self.state = state.name
        return state

    def measure_killed(self, bucket, target, kills):
        """As `measure`, by the same command again and again, which is killed meanwhile."""
        began, cpu, memory = time.monotonic(), 0, 0
        with self.new_state():
            while True:
                with Running(self.command(bucket, target), self.environment(), self.log()) as running:
                    ended = kills.spare(running, lambda: running.wait(0.05))
                    _, more, peak = running.took((0, -signal.SIGKILL))
                cpu, memory = cpu + more, max(memory, peak)
                if ended:
                    return time.monotonic() - began, cpu, memory

    def command(self, bucket, target):
        sides = ("source", "destination") if self.place.authority else ()
        trusted = [word for side in sides for word in (f"--{side}-ca-bundle", self.place.authority)]
        return [self.program, *self.options, f"s3://{bucket}", f"s3://{target}", "--state-dir", self.state,
                "--source-endpoint", self.place.source, "--destination-endpoint", self.place.destination, *trusted]


class Worker(Copier):
    """`jobsender send` and one `worker`, which start together. The run is over when the operator would end it."""

    number = itertools.count(1)

    def __init__(self, place):
        super().__init__("jobsender + worker", place)
        self.program, self.keys = place.programs / "worker", write_keys(place.directory)

    def prepare(self, bucket, target):
        """Makes a queue for a new job, and writes the job's configuration."""
        self.job = f"bench-{os.getpid()}-{next(self.number)}"
        queues = client("sqs", self.place.queues.endpoint)
        dead = queues.create_queue(QueueName=f"{self.job}-dead")["QueueUrl"]
        arn = queues.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        redrive = f'{{"deadLetterTargetArn": "{arn}", "maxReceiveCount": "60"}}'
        queues.create_queue(QueueName=self.job, Attributes={"VisibilityTimeout": "900", "RedrivePolicy": redrive})
        config = job_config(
            self.job, self.keys, (bucket, self.place.source), (target, self.place.destination),
            self.place.queues_link.endpoint, self.place.ledger_link.endpoint, self.job, self.place.authority)
        config["transfer"] |= self.transfer()
        # JSON is YAML.
        (self.directory / "job.yaml").write_text(json.dumps(config))

    def transfer(self):
        """What the configuration sets of the transfer."""
        return {}

    def start(self, program, *arguments, name=None, group=None):
        command = [self.place.programs / program, "--config", self.directory / "job.yaml", "--name", name or program,
                   "--job-name", self.job, *arguments]
        return Running(command, {}, self.directory / f"{name or program}.log", self.cores, group)

    def end(self):
        return Running([self.place.tools, "await-run", "--endpoint", self.place.ledger.endpoint, "--region", REGION,
                        "--table", "ledger", "--job", self.job, "--patience", str(24 * 3600)], KEYS,
                       self.directory / "await-run.log")

    def measure(self, bucket, target):
        self.prepare(bucket, target)
        began = time.monotonic()
        with self.start("worker") as worker, self.start("jobsender", "send") as sender, self.end() as end:
            while not self.is_over(worker, end):
                pass
            seconds = time.monotonic() - began
            self.check_complete(end)
            worker.send(signal.SIGTERM)
            return self.sum(seconds, [worker.took(), sender.took()])

    def measure_killed(self, bucket, target, kills):
        """As `measure`, with a worker that is killed, and another one in its place."""
        self.prepare(bucket, target)
        began, tooks = time.monotonic(), []
        with self.start("jobsender", "send") as sender, self.end() as end:
            while True:
                with self.start("worker") as worker:
                    if ended := kills.spare(worker, lambda: self.is_over(worker, end)):
                        worker.send(signal.SIGTERM)
                    tooks.append(worker.took((0, -signal.SIGKILL)))
                if ended:
                    self.check_complete(end)
                    return self.sum(time.monotonic() - began, [*tooks, sender.took()])

    @staticmethod
    def is_over(worker, end):
        """True if the run has ended. Fails where the worker ends by itself."""
        if worker.wait(0):
            worker.took(())
        return end.wait(0.05)

    @staticmethod
    def check_complete(end):
        end.took()
        if '"result":"Complete"' not in end.output.read_text():
            raise SystemExit(f"the run ended otherwise: {end.output.read_text()}")

    @staticmethod
    def sum(seconds, tooks):
        return seconds, sum(took[1] for took in tooks), max(took[2] for took in tooks)

    def control(self):
        return self.place.queues_link.counts() + self.place.ledger_link.counts()

    def explain(self):
        return "jobsender send & worker"


class Scraped(Worker):
    """`jobsender send` and one `worker`, whose metrics are read every second, or are not served."""

    def __init__(self, place, is_read):
        super().__init__(place)
        self.name, self.is_read, self.reads = f"{self.name}, {'read every second' if is_read else 'no metrics'}", is_read, 0

    def start(self, program, *arguments, name=None, group=None):
        if not self.is_read or program != "worker":
            return super().start(program, *arguments, name=name, group=group)
        self.port = free_port()
        return super().start(program, "--metrics-port", str(self.port), *arguments, name=name, group=group)

    def measure(self, bucket, target):
        if not self.is_read:
            return super().measure(bucket, target)
        over, self.reads = threading.Event(), 0
        reader = threading.Thread(target=self.read, args=(over,))
        reader.start()
        try:
            took = super().measure(bucket, target)
        finally:
            over.set()
            reader.join()
        if self.reads < min(3, took[0] - 2):
            raise SystemExit(f"the worker's metrics were read only {self.reads} times")
        return took

    def read(self, over):
        while not over.wait(1):
            with contextlib.suppress(OSError):
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
                    self.reads += b"s3migration_" in answer.read()

    def explain(self):
        return super().explain() + (" --metrics-port" if self.is_read else "")


class Halves(Worker):
    """`jobsender send` and workers of half a core each, on an object that is split over them."""

    GROUPS = pathlib.Path("/sys/fs/cgroup/cpu")
    PERIOD = 100_000

    def __init__(self, place, workers):
        super().__init__(place)
        self.name, self.workers = f"{self.name}, {workers} half core{'s' * (workers > 1)}", workers

    @classmethod
    def can_run(cls):
        """True where the cpu controller of cgroup v1 can be used."""
        return os.access(cls.GROUPS / "cgroup.procs", os.W_OK)

    def transfer(self):
        size = max(size for size, _ in self.place.copied)
        return {"splitThreshold": str(max(16, size // MIB // 8)) + "Mi"}

    def measure(self, bucket, target):
        self.prepare(bucket, target)
        began = time.monotonic()
        with contextlib.ExitStack() as stack:
            workers = [stack.enter_context(self.half(stack, number)) for number in range(self.workers)]
            sender, end = stack.enter_context(self.start("jobsender", "send")), stack.enter_context(self.end())
            while not any(self.is_over(worker, end) for worker in workers):
                pass
            seconds = time.monotonic() - began
            self.check_complete(end)
            for worker in workers:
                worker.send(signal.SIGTERM)
            return self.sum(seconds, [running.took() for running in (*workers, sender)])

    def half(self, stack, number):
        """Starts a worker with half a core."""
        group = self.GROUPS / f"bench-{os.getpid()}-{number}"
        group.mkdir()
        stack.callback(self.remove, group)
        (group / "cpu.cfs_period_us").write_text(str(self.PERIOD))
        (group / "cpu.cfs_quota_us").write_text(str(self.PERIOD // 2))
        return self.start("worker", name=f"worker-{number}", group=group)

    @staticmethod
    def remove(group):
        # A process that has ended leaves its group a moment later.
        deadline = time.monotonic() + 10
        while (group / "cgroup.procs").read_text() and time.monotonic() < deadline:
            time.sleep(0.01)
        group.rmdir()


class Rclone(Copier):
    TUNED = ["--transfers", "16", "--checkers", "16", "--fast-list", "--use-server-modtime",
             "--s3-no-head", "--s3-no-check-bucket", "--s3-chunk-size", "16Mi"]

    def __init__(self, name, options, place):
        super().__init__(name, place)
        self.program, self.options = script("servers.sh", "rclone"), ["copy", *options]

    def version(self):
        return go_version("rclone")

    def environment(self):
        return rclone_remotes(self.directory, self.place.source, self.place.destination, self.place.authority)

    def command(self, bucket, target):
        return [self.program, *self.options, f"src:{bucket}", f"dst:{target}"]


class S3sync(Copier):
    def __init__(self, place):
        super().__init__("s3sync", place)
        self.program, self.options = script(HERE / "s3sync.sh"), []

    def command(self, bucket, target):
        return [self.program, *self.options, f"s3://{bucket}", f"s3://{target}",
                "--source-endpoint-url", self.place.source, "--source-force-path-style",
                "--target-endpoint-url", self.place.destination, "--target-force-path-style"]


class S5cmd(Copier):
    """It knows one service at a time: it reads into a directory in memory, and writes from there."""

    def __init__(self, place):
        super().__init__("s5cmd", place)
        self.program, self.options = script(HERE / "s5cmd.sh"), []

    def version(self):
        return pathlib.Path(self.program).name.split("-")[1]

    def measure(self, bucket, target):
        with tempfile.TemporaryDirectory(dir=self.directory) as self.kept:
            return super().measure(bucket, target)

    def command(self, bucket, target):
        both = ('set -e; p=$1 s=$2 b=$3 k=$4 d=$5 t=$6; "$p" --log error --endpoint-url "$s" cp "s3://$b/*" "$k/"; '
                '"$p" --log error --endpoint-url "$d" cp "$k/" "s3://$t/"')
        return ["sh", "-c", both, "sh", self.program, self.place.source, bucket, self.kept, self.place.destination,
                target]

    def explain(self):
        return "s5cmd cp s3://SOURCE/* DIRECTORY/ && s5cmd cp DIRECTORY/ s3://DESTINATION/"


class Raw(Copier):
    """A client of the tools, which is given signed URLs, and opens and completes no uploads itself."""

    def __init__(self, name, place):
        super().__init__(name, place)
        self.program, self.options = place.tools, [name]

    def version(self):
        return None

    def measure(self, bucket, target):
        signers = [Signer(self.place.source), Signer(self.place.destination)]
        s3 = client("s3", self.place.direct, self.place.authority)
        work, uploads = self.directory / "work.txt", {}
        with open(work, "w", encoding="utf-8") as file:
            for size, key in self.place.objects(bucket):
                for piece in self.pieces(s3, signers, bucket, target, size, key, uploads):
                    print(*piece, file=file)
        trusted = ["--ca", self.place.authority] if self.place.authority else []
        took = run([self.program, self.name.split(",")[0], "--work", work, *trusted], {}, self.log(), self.cores)
        for key, upload in uploads.items():
            parts = s3.get_paginator("list_parts").paginate(Bucket=target, Key=key, UploadId=upload)
            parts = [{name: part[name] for name in ("PartNumber", "ETag")} for page in parts for part in page["Parts"]]
            s3.complete_multipart_upload(Bucket=target, Key=key, UploadId=upload, MultipartUpload={"Parts": parts})
        return took

    @staticmethod
    def pieces(s3, signers, bucket, target, size, key, uploads):
        source, destination = signers
        get = source.url("GET", bucket, key)
        if size <= PART:
            yield size, "-", get, destination.url("PUT", target, key)
            return
        upload = uploads[key] = s3.create_multipart_upload(Bucket=target, Key=key)["UploadId"]
        for number, offset in enumerate(range(0, size, PART), 1):
            put = destination.url("PUT", target, key, partNumber=number, uploadId=upload)
            yield min(PART, size - offset), offset, get, put

    def explain(self):
        return f"bench-tools {self.name.split(',')[0]}, with signed URLs"


def copier(name, place, case):
    """The program of this name, as the case wants it."""
    if name == "s3migrate":
        return S3migrate(place)
    if name == "jobsender + worker":
        return Worker(place)
    if name == "s3sync":
        return S3sync(place)
    if name == "s5cmd":
        return S5cmd(place)
    if name.startswith("rclone"):
        options = [*Rclone.TUNED, *case.tuned] if "tuned" in name else []
        # Else it asks for the metadata of every object, on both sides.
        return Rclone(name, [*options, "--checksum"] if case.kind == "unchanged" else options, place)
    return Raw(name, place)
