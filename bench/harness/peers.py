"""Finds the differences of a million keys with this project and with its peers, on the same services, and writes
bench/PEERS.md. Run by `make scan-peers`."""

import argparse
import os
import pathlib
import platform
import shutil
import statistics
import sys
import tempfile

from programs import Ours, Rclone
from services import client, control, gateway, make_table
from tree import seed


def learn_etag(s3, data):
    """Where the gateway keeps an ETag, and in what form: seen at an object that it wrote itself."""
    s3.put_object(Bucket="source", Key="probe", Body=b"probe")
    path = data / "source" / "probe"
    names = [name for name in os.listxattr(path) if name.lower().endswith("etag")]
    if len(names) != 1:
        sys.exit(f"failed to find where the gateway keeps ETags: {os.listxattr(path)}")
    quoted = os.getxattr(path, names[0]).startswith(b'"')
    s3.delete_object(Bucket="source", Key="probe")
    return names[0], quoted


def measure(programs, rounds, expected):
    """Each program each way in each round, in an order that turns; gives what was measured. Fails where a program finds
    other differences than there are."""
    results = {}
    for number in range(rounds):
        turned = programs[number % len(programs):] + programs[:number % len(programs)]
        for way in ("size", "content"):
            for program in turned:
                measured = program.measure(way)
                print(f"{program.name} {way}: {measured.seconds:.1f} s, {measured.cpu:.1f} s of processor, "
                      f"{measured.memory / 2**20:.0f} MiB, {measured.found} differences", file=sys.stderr)
                if measured.found != expected[way]:
                    sys.exit(f"{program.name} found {measured.found} differences by {way} and there are {expected[way]}")
                results.setdefault((way, program.name), []).append(measured)
    return results


def row(way, name, runs):
    seconds = sorted(run.seconds for run in runs)
    memory = max(run.memory for run in runs) / 2**20
    cpu = statistics.median(run.cpu for run in runs)
    return (f"| {way} | {name} | {statistics.median(seconds):.1f} s | {seconds[0]:.1f} to {seconds[-1]:.1f} s "
            f"| {cpu:.1f} s | {memory:.0f} MiB |")


def write(path, arguments, counts, programs, results):
    names = [program.name for program in programs]
    ratios = []
    for way in ("size", "content"):
        medians = [statistics.median(run.seconds for run in results[way, name]) for name in names]
        ratios.append(f"{medians[1] / medians[0]:.2f} by {way}")
    lines = [
        "# Finding differences, beside peers", "",
        f"Written by `make scan-peers`. {arguments.keys:,} keys by date and host, 1,000 in a directory, on two gateways "
        "(versitygw, on directories). At the destination,",
        f"{counts.get('missing', 0):,} are missing, {counts.get('size', 0):,} have another size, "
        f"{counts.get('content', 0):,} another content of equal size. Every program has to find exactly these.",
        f"{arguments.rounds} rounds in turns; medians. {os.cpu_count()} cores ({platform.machine()}), which the gateways "
        "share with the program.", "",
        "| by | program | seconds | range | processor | peak memory |", "|---|---|---|---|---|---|",
        *(row(way, name, results[way, name]) for way in ("size", "content") for name in names), "",
        f"rclone's seconds to ours: {', '.join(ratios)}.", "",
        *(f"- {program.name} {program.version()}: {program.__doc__.splitlines()[0]}" for program in programs), "",
        "[README.md](README.md) compares copies, with s3sync too.", "",
        "What this does not say: there is no latency, most of the time is the gateways', and there is one shape of keys. "
        "[SCAN.md](SCAN.md) has other shapes, latency, and up to 100 million keys.", "",
    ]
    path.write_text("\n".join(lines))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--programs", type=pathlib.Path, required=True, help="directory of the program jobsender")
    parser.add_argument("--write", type=pathlib.Path, required=True, help="the table")
    arguments = parser.parse_args()
    directory = pathlib.Path(tempfile.mkdtemp(prefix="scan-peers-"))
    try:
        with gateway("from", directory) as source, gateway("to", directory) as destination, control(directory) as ledger:
            for bucket, server in (("source", source), ("destination", destination)):
                client("s3", server.endpoint).create_bucket(Bucket=bucket)
            name, quoted = learn_etag(client("s3", source.endpoint), directory / "from")
            make_table(client("dynamodb", ledger.endpoint))
            counts = seed(directory / "from/source", directory / "to/destination", arguments.keys, name, quoted)
            print(f"seeded: {counts}", file=sys.stderr)
            expected = {"size": counts["missing"] + counts["size"]}
            expected["content"] = expected["size"] + counts["content"]
            programs = [Ours(arguments.programs, directory, source.endpoint, destination.endpoint, ledger.endpoint),
                        Rclone(directory, source.endpoint, destination.endpoint)]
            results = measure(programs, arguments.rounds, expected)
            write(arguments.write, arguments, counts, programs, results)
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
