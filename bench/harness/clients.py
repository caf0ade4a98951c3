"""Measures ways to send S3's requests on the same work, and writes bench/CLIENTS.md. Run by `make bench-clients`."""

import argparse
import datetime
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile

from bench import commit, processor
from services import ACCESS, SECRET, Computed

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
KIB, MIB = 2**10, 2**20
# The ways, and what they are; the last is compared with the others.
WAYS = {
    "sdk": "the AWS SDK for Rust, as it is",
    "slim-sdk": "the SDK, slimmed",
    "common-runtime": "the AWS Common Runtime",
    "direct": "the store's own requests",
}
IN_FLIGHT = 16
LIBRARIES = ("aws-sdk-s3", "aws-smithy-runtime", "mountpoint-s3-client", "mountpoint-s3-crt-sys", "hyper", "tokio")
# Title, number of objects and size of each.
CASES = [("20,000 × 10 KiB", 20_000, 10 * KIB), ("2,000 × 1 MiB", 2_000, MIB)]


class Measured:
    """What the work took for each object, in microseconds."""

    def __init__(self, objects, seconds, cpu, service_cpu):
        self.seconds = seconds
        self.cpu, self.service_cpu = cpu * 1e6 / objects, service_cpu * 1e6 / objects


def measure(program, service, way, objects, size):
    """Runs one way once. The program leaves its start and its first requests out; the service's time has them."""
    before = service.cpu()
    done = subprocess.run(
        [program, "--way", way, "--endpoint", service.endpoint, "--source", "source", "--destination", "destination",
         "--objects", str(objects), "--size", str(size), "--in-flight", str(IN_FLIGHT)],
        env={"AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": SECRET, "HOME": os.environ.get("HOME", "/")},
        check=True, stdout=subprocess.PIPE, text=True)
    took = json.loads(done.stdout)
    return Measured(objects, took["seconds"], took["cpu"], service.cpu() - before)


def measure_case(program, tools, directory, rounds, objects, size):
    """All ways in each round, in an order that turns."""
    ways, runs = list(WAYS), {way: [] for way in WAYS}
    with Computed("service", tools, directory) as service:
        service.fill("source", ((size, number) for number in range(objects)))
        for number in range(rounds):
            for way in ways[number % len(ways):] + ways[:number % len(ways)]:
                service.drop("destination")
                service.fill("destination", ())
                measured = measure(program, service, way, objects, size)
                print(f"{objects} × {size}, {way}: {measured.seconds:.2f} s, {measured.cpu:.0f} µs, "
                      f"service {measured.service_cpu:.0f} µs", file=sys.stderr)
                runs[way].append(measured)
    return runs


def median(runs, value):
    return statistics.median(value(run) for run in runs)


def row(way, runs, objects, chosen):
    cpu = sorted(run.cpu for run in runs)
    ratios = [run.cpu / other.cpu for run, other in zip(runs, chosen)]
    ratio = median(runs, lambda run: run.cpu) / median(chosen, lambda run: run.cpu)
    return (f"| {WAYS[way]} | {median(runs, lambda run: run.cpu):,.0f} µs | {cpu[0]:,.0f} … {cpu[-1]:,.0f} µs "
            f"| {ratio:.2f} × ({min(ratios):.2f} … {max(ratios):.2f}) "
            f"| {objects / median(runs, lambda run: run.seconds):,.0f} "
            f"| {median(runs, lambda run: run.service_cpu):,.0f} µs |")


def section(title, objects, runs):
    return [f"## {title}", "",
            "| way | processor an object | range | beside the store's own | objects/s "
            "| service's processor an object |", "|---|---:|---|---|---:|---:|",
            *(row(way, runs[way], objects, runs["direct"]) for way in WAYS), ""]


def version(package):
    """The version of a library in the program."""
    lock = (ROOT / "bench/clients/Cargo.lock").read_text()
    found = re.search(rf'name = "{package}"\nversion = "([^"]+)"', lock)
    return f"{package} {found[1]}" if found else sys.exit(f"failed to find {package} in Cargo.lock")


def about(rounds, load):
    """When and where it was measured, with what, and how much else there was to do, in a sentence."""
    compiler = subprocess.run(["rustc", "--version"], check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT).stdout
    libraries = ", ".join(map(version, LIBRARIES))
    return (f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, commit {commit()}, {processor()}; {compiler.strip()}, "
            f"{libraries}. {rounds} rounds in turns; medians, and the range of all. Before it, {load:.1f} processes "
            "wanted to run (load of 1 minute): above 1, the machine did something else, and objects/s say little.")


def page(cases, measured):
    """The page of results, by the runs of each case."""
    return "\n".join([
        "# Ways to send S3's requests", "",
        "Written by `make bench-clients`, which compiles the AWS Common Runtime (C, with CMake and libclang) in a",
        "workspace of its own, [clients](clients).", "", measured, "",
        f"For each object a GET of all of it and a PUT of as many bytes, {IN_FLIGHT} objects at once, by plain HTTP",
        "to one service on the same machine, whose objects are computed and whose uploads are compared with what they",
        "should be (`bench-tools computed`). The processor's time is user and system time of the client, without its",
        "start and its first requests. The MD5 of what is put is known to all, as it is after a GET that hashes; the",
        "service's ETag must be that.", "",
        *(line for case in cases for line in section(*case)),
        "## The ways", "",
        "- The SDK as it is: its defaults. It signs the SHA-256 of bodies and sends their CRC-32, with retries,",
        "  time-outs, watching of streams, a cache of credentials and rules of endpoints.",
        "- The SDK, slimmed: without all these; bodies have a Content-MD5 instead. Two endpoints, found once. Without",
        "  the headers that only inform (user agent, invocation, attempt, trace).",
        "- The AWS Common Runtime: `mountpoint-s3-client` with its defaults, one request for each GET and PUT; bodies",
        "  have a Content-MD5. It has threads of its own.",
        "- The store's own: `S3Store` of `crates/aws`, as worker and `s3migrate` use it",
        "  ([endpoints.md](../docs/endpoints.md#who-sends-the-requests)); bodies have a Content-MD5.", ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--program", type=pathlib.Path, required=True, help="the program bench-clients")
    parser.add_argument("--programs", type=pathlib.Path, required=True, help="directory of the program bench-tools")
    parser.add_argument("--share", type=int, default=1, help="measure one in so many objects, to see that all runs")
    parser.add_argument("--write", type=pathlib.Path, required=True, help="the page")
    arguments = parser.parse_args()
    directory = pathlib.Path(tempfile.mkdtemp(prefix="bench-clients-"))
    try:
        load, _, _ = os.getloadavg()
        cases, tools = [], arguments.programs / "bench-tools"
        for title, objects, size in CASES:
            objects //= arguments.share
            runs = measure_case(arguments.program, tools, directory, arguments.rounds, objects, size)
            cases.append((title, objects, runs))
        arguments.write.write_text(page(cases, about(arguments.rounds, load)))
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
