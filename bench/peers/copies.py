"""Copies many small and a few large objects with s3migrate and with its peers, on the same services, and writes
bench/COPY.md. Run by `make copy-peers`."""

import argparse
import collections
import concurrent.futures
import dataclasses
import datetime
import filecmp
import io
import json
import os
import pathlib
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile

from boto3.s3.transfer import TransferConfig

from copiers import Rclone, S3migrate, S3sync
from programs import go_version
from services import ACCESS, HERE, SECRET, client, gateway
from tree import directory_of

MIB, GIB = 2**20, 2**30
WRITERS = 3


@dataclasses.dataclass(frozen=True)
class Case:
    """A bucket of objects of one size, and the amounts that its figures are for."""

    bucket: str
    objects: int
    size: int
    # The unit of the rate and how many bytes or objects it has; likewise for processor and requests.
    rate: tuple
    cost: tuple

    def amount(self, unit):
        """How much of a unit one copy moves."""
        return self.objects if unit[1] is None else self.objects * self.size / unit[1]

    def title(self):
        size = f"{self.size // MIB} MiB" if self.size >= MIB else f"{self.size // 1024} KiB"
        return f"{self.objects:,} × {size}"

    def key(self, number):
        return f"{directory_of(number)}/part-{number:08}.bin"


@dataclasses.dataclass(frozen=True)
class Copied:
    """What one copy took: of the program, and of both gateways."""

    seconds: float
    cpu: float
    memory: int
    gateway_cpu: float
    requests: collections.Counter


def write_some(endpoint, case, numbers):
    """Puts objects of random bytes, as the AWS command line does: from 8 MiB on, in parts of 8 MiB."""
    s3 = client("s3", endpoint)
    config = TransferConfig(multipart_threshold=8 * MIB, multipart_chunksize=8 * MIB)
    for number in numbers:
        s3.upload_fileobj(io.BytesIO(os.urandom(case.size)), case.bucket, case.key(number), Config=config)


def seed(endpoint, case):
    client("s3", endpoint).create_bucket(Bucket=case.bucket)
    with concurrent.futures.ProcessPoolExecutor(WRITERS) as pool:
        parts = [range(start, case.objects, WRITERS) for start in range(WRITERS)]
        for done in [pool.submit(write_some, endpoint, case, part) for part in parts]:
            done.result()


class Requests:
    """Counts the requests that a gateway answers, by its log."""

    def __init__(self, server):
        self.path = pathlib.Path(server.log.name)
        self.start = self.path.stat().st_size

    def count(self):
        """How many came since, by method."""
        with open(self.path, encoding="utf-8", errors="replace") as file:
            file.seek(self.start)
            # Lines of concurrent requests run into each other.
            return collections.Counter(re.findall(r"\| (GET|HEAD|PUT|POST|DELETE)", file.read()))


def files(bucket):
    """The objects of a bucket as the gateway keeps them: paths of files, without its own directory for uploads."""
    return {str(path.relative_to(bucket)) for path in bucket.rglob("*")
            if path.is_file() and not path.relative_to(bucket).parts[0].startswith(".")}


def sizes(endpoint, bucket):
    pages = client("s3", endpoint).get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return {entry["Key"]: entry["Size"] for page in pages for entry in page.get("Contents", [])}


def check(case, program, target, source, destination, directory):
    """Fails unless both sides list the same keys and sizes, and each object has the source's bytes."""
    listed, copied = sizes(source.endpoint, case.bucket), sizes(destination.endpoint, target)
    left, right = directory / "from" / case.bucket, directory / "to" / target
    names = files(left)
    _, different, unread = filecmp.cmpfiles(left, right, names, shallow=False)
    if len(listed) != case.objects or listed != copied or names != set(listed) or different or unread:
        sys.exit(f"{program.name}: the copy of {case.bucket} is not whole: {len(copied)} of {len(listed)} keys, "
                 f"{len(different)} others and {len(unread)} unreadable")


def check_all(case, target, source, destination, directory):
    """What the independent checker says of bytes, headers, metadata and tags. Fails where it finds a difference."""
    side = lambda server, bucket: {"endpoint": server.endpoint, "key": ACCESS, "secret": SECRET, "bucket": bucket}
    job = directory / "check.json"
    job.write_text(json.dumps({"source": side(source, case.bucket), "destination": side(destination, target)}))
    checker = HERE.parent.parent / "kind-tests/checker/check.py"
    done = subprocess.run([sys.executable, checker, job], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"the copy of {case.bucket} is not whole: {done.stdout}")
    return done.stdout.strip()


def copy(case, program, target, source, destination, directory):
    """Copies a bucket once and checks it; gives what it took."""
    client("s3", destination.endpoint).create_bucket(Bucket=target)
    counters = [Requests(server) for server in (source, destination)]
    before = source.cpu() + destination.cpu()
    seconds, cpu, memory = program.measure(case.bucket, target)
    copied = Copied(seconds, cpu, memory, source.cpu() + destination.cpu() - before,
                    sum((counter.count() for counter in counters), collections.Counter()))
    check(case, program, target, source, destination, directory)
    print(f"{program.name} {case.title()}: {seconds:.2f} s, {cpu:.2f} s of processor, {memory / MIB:.0f} MiB, "
          f"gateways {copied.gateway_cpu:.2f} s, {dict(copied.requests)}", file=sys.stderr, flush=True)
    return copied


def measure(cases, programs, rounds, source, destination, directory):
    """Each program copies each bucket in each round, in an order that turns; gives what was measured, and what the
    checker says of the last copies by the first program."""
    results, verdicts = {}, {}
    for number in range(rounds):
        turned = programs[number % len(programs):] + programs[:number % len(programs)]
        for case in cases:
            for place, program in enumerate(turned):
                target = f"{case.bucket}-{number}-{place}"
                copied = copy(case, program, target, source, destination, directory)
                results.setdefault((case, program.name), []).append(copied)
                if number == rounds - 1 and program is programs[0]:
                    verdicts[case] = check_all(case, target, source, destination, directory)
                shutil.rmtree(directory / "to" / target)
    return results, verdicts


def median(runs, value):
    return statistics.median(value(run) for run in runs)


def row(case, name, runs):
    seconds = sorted(run.seconds for run in runs)
    cost = case.amount(case.cost)
    scale, unit = (1e6 / cost, "µs") if case.cost[1] is None else (1 / cost, "s")
    digits = 0 if unit == "µs" else 2
    requests = median(runs, lambda run: run.requests.total())
    return (f"| {name} | {statistics.median(seconds):.2f} s | {seconds[0]:.2f} … {seconds[-1]:.2f} s "
            f"| {case.amount(case.rate) / statistics.median(seconds):,.0f} "
            f"| {median(runs, lambda run: run.cpu) * scale:,.{digits}f} {unit} "
            f"| {median(runs, lambda run: run.gateway_cpu) * scale:,.{digits}f} {unit} "
            f"| {max(run.memory for run in runs) / MIB:.0f} MiB "
            f"| {requests / cost:.{2 if requests / cost < 100 else 0}f} |")


def ratios(case, names, results):
    """The first program beside the fastest of the others."""
    ours, peers = results[case, names[0]], {name: results[case, name] for name in names[1:]}
    best = min(peers, key=lambda name: median(peers[name], lambda run: run.seconds))
    ratio = lambda value, of=median: of(ours, value) / of(peers[best], value)
    speed, cpu = 1 / ratio(lambda run: run.seconds), ratio(lambda run: run.cpu)
    memory = ratio(lambda run: run.memory, lambda runs, value: max(map(value, runs)))
    least = min(median(runs, lambda run: run.cpu) for runs in peers.values())
    return (f"Beside {best}, the fastest peer: **{speed:.2f} × the speed, {cpu:.2f} × the processor time, {memory:.2f} "
            f"× the memory**; {median(ours, lambda run: run.cpu) / least:.2f} × the processor time of the peer that "
            "needs least.")


def table(case, names, results, verdict):
    rate, cost = case.rate[0], case.cost[0]
    return [
        f"## {case.title()}", "",
        f"| program | seconds | range | {rate} | processor {cost} | gateways' processor {cost} | peak memory "
        f"| requests {cost} |", "|---|---:|---|---:|---:|---:|---:|---:|",
        *(row(case, name, results[case, name]) for name in names), "",
        *([ratios(case, names, results), ""] if len(names) > 1 else []), f"The last copy by s3migrate: {verdict}.", "",
    ]


def filesystem(directory):
    """The type of the file system that a directory is on."""
    done = subprocess.run(["df", "--output=fstype", directory], check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.split()[-1]


def processor():
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"{len(os.sched_getaffinity(0))} cores of {name}, Linux {platform.release()}"


def commit():
    """The commit of this checkout."""
    return subprocess.run(["git", "-C", HERE, "rev-parse", "--short", "HEAD"], check=True, stdout=subprocess.PIPE,
                          text=True).stdout.strip()


def write(path, arguments, programs, results, verdicts):
    names = [program.name for program in programs]
    absent = [] if "s3sync" in names else ["- s3sync: left out of this run."]
    about = [f"- {program.name} {program.version()}: `{program.explain()}`" for program in programs]
    lines = [
        "# Copying, beside peers", "",
        f"Written by `make copy-peers` on {datetime.datetime.now(datetime.UTC):%Y-%m-%d}, commit {commit()}. One "
        f"command each, {arguments.rounds} rounds in turns; medians, and",
        "the most memory of all rounds. Source and destination are two gateways (versitygw "
        f"{go_version('versitygw')}, with `--keep-alive`) on directories in",
        f"memory. {processor()}, which the gateways share with the program.",
        f"The state of s3migrate is new for each copy, on {filesystem(arguments.states)}. Processor is user and system, "
        "of the whole process tree.",
        "After each copy, both sides list the same keys and sizes, and the bytes of every object are equal.", "",
    ]
    for case, verdict in verdicts.items():
        lines += table(case, names, results, verdict)
    lines += ["## What was run", "", *about, *absent, "",
              "All have the endpoints, path-style addresses and one pair of keys besides, and copy into an empty "
              "bucket. Large", "objects were written in parts of 8 MiB, as by the AWS command line.", "",
              "What this does not say: there is no latency and no TLS, and where the gateways take most of the "
              "processor,", "the program waits for them.", ""]
    path.write_text("\n".join(lines))


def peers(names, services):
    """The peers of these names."""
    made = []
    if "rclone" in names:
        made += [Rclone("rclone", [], *services), Rclone("rclone, tuned", Rclone.TUNED, *services)]
    if "s3sync" in names:
        made.append(S3sync(*services))
    return made


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--small", type=int, default=10_000, help="number of objects of 10 KiB")
    parser.add_argument("--large", type=int, default=4, help="number of objects of 256 MiB")
    parser.add_argument("--peers", nargs="*", choices=["rclone", "s3sync"], default=["rclone", "s3sync"])
    parser.add_argument("--programs", type=pathlib.Path, required=True, help="directory of the program s3migrate")
    parser.add_argument("--states", type=pathlib.Path, default="/var/tmp", help="where s3migrate's state is, on a disk")
    parser.add_argument("--write", type=pathlib.Path, required=True, help="the table")
    arguments = parser.parse_args()
    cases = [Case("small", arguments.small, 10 * 1024, ("objects/s", None), ("an object", None)),
             Case("large", arguments.large, 256 * MIB, ("MiB/s", MIB), ("a GiB", GIB))]
    directory = pathlib.Path(tempfile.mkdtemp(prefix="copy-peers-", dir="/dev/shm"))
    try:
        with gateway("from", directory) as source, gateway("to", directory) as destination:
            services = (directory, source.endpoint, destination.endpoint)
            programs = [S3migrate(arguments.programs, arguments.states, *services), *peers(arguments.peers, services)]
            for case in cases:
                seed(source.endpoint, case)
            results, verdicts = measure(cases, programs, arguments.rounds, source, destination, directory)
            write(arguments.write, arguments, programs, results, verdicts)
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
