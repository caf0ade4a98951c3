"""Copies with this project and with its peers, on the same services in turns, and writes what it took to
bench/results/. Run by `make bench`."""

import argparse
import collections
import contextlib
import dataclasses
import datetime
import json
import os
import pathlib
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile

import figures
import seeds
from cases import ALL, CASES, SIZES
from copiers import Halves, Kills, Scraped, copier
from programs import go_version
from services import (HERE, NOT_REQUESTS, Computed, certificates, client, dynamodb, elasticmq, gateway, link,
                      make_table, memory)

MIB, GIB = 2**20, 2**30
ABOUT = {
    "memory": "Both services are the server of the demo (`crates/s3-server`), in memory.",
    "gateway": f"Both services are versitygw {go_version('versitygw')} with `--keep-alive`, on directories in memory.",
    "computed": "The source computes its bytes; the destination {}, and keeps none.",
}


@dataclasses.dataclass
class Place:
    """Where the programs find everything."""

    directory: pathlib.Path
    # The directories of this project's programs, and of the state of s3migrate.
    programs: pathlib.Path
    states: pathlib.Path
    tools: pathlib.Path
    queues: object = None
    queues_link: object = None
    ledger: object = None
    ledger_link: object = None
    # Of the case that runs: the endpoints, the destination's without a link, and who is trusted.
    source: str = None
    destination: str = None
    direct: str = None
    authority: pathlib.Path = None
    copied: list = None

    def objects(self, _bucket):
        return self.copied


@contextlib.contextmanager
def control(place):
    """Starts queue and ledger, behind links that count requests."""
    with elasticmq(place.directory) as place.queues, dynamodb(place.directory) as place.ledger, \
            link("queues-link", place.tools, place.queues, place.directory) as place.queues_link, \
            link("ledger-link", place.tools, place.ledger, place.directory) as place.ledger_link:
        make_table(client("dynamodb", place.ledger.endpoint))
        yield


@contextlib.contextmanager
def services(case, size, place):
    """Starts source and destination of a case."""
    trusted = certificates(place.directory) if case.tls else None
    make = {
        "memory": lambda name: memory(name, place.tools, place.directory),
        "gateway": lambda name: gateway(name, place.directory),
        "computed": lambda name: Computed(name, place.tools, place.directory, trusted, case.unchecked),
    }[case.service]
    with contextlib.ExitStack() as stack:
        source, destination = stack.enter_context(make("from")), stack.enter_context(make("to"))
        place.source, place.direct, place.authority = source.endpoint, destination.endpoint, source.authority
        place.destination = destination.endpoint
        if case.round_trip or case.rate.get(size):
            slow = link("slow-link", place.tools, destination, place.directory, case.round_trip, case.rate.get(size))
            place.destination = stack.enter_context(slow).endpoint
        yield source, destination


def variants(case, size, names, place):
    """The programs of a case; where it is about cores, each on one, on two and on all."""
    wanted = [name for name in case.programs if name in names]
    if case.kind == "halves":
        return [Halves(place, number) for number in (1, 2)] if "jobsender + worker" in names and Halves.can_run() else []
    if case.kind == "scraped":
        return [Scraped(place, is_read) for is_read in (False, True)] if "jobsender + worker" in names else []
    if case.kind != "cores":
        return [copier(name, place, case) for name in wanted]
    made = []
    for name in wanted:
        for number in sorted({1, 2, os.cpu_count()}):
            if number <= os.cpu_count():
                program = copier(name, place, case)
                program.name, program.cores = f"{name}, {number} core{'s' * (number > 1)}", set(range(number))
                made.append(program)
    return made


def measure(case, size, program, source, destination, bucket, target):
    """Copies the bucket once; gives what it took."""
    everywhere = set(range(os.cpu_count()))
    for server in (source, destination):
        server.pin(program.cores or everywhere)
    before = [server.counts() for server in (source, destination)] + [program.control()]
    used = source.cpu() + destination.cpu()
    if case.kind == "killed":
        kills = Kills(case.kill_every[size], destination.counts)
        seconds, cpu, peak = program.measure_killed(bucket, target, kills)
    else:
        seconds, cpu, peak = program.measure(bucket, target)
    used = source.cpu() + destination.cpu() - used
    after = [server.counts() for server in (source, destination)] + [program.control()]
    counted = [collections.Counter(late) - collections.Counter(early) for late, early in zip(after, before)]
    s3, total = counted[0] + counted[1], sum(size for size, _ in program.place.copied)
    notes = lost(kills, s3, total) if case.kind == "killed" else ()
    requests = {kind: number for kind, number in s3.items() if kind not in NOT_REQUESTS}
    return figures.Run(seconds, cpu, used, peak, requests, dict(counted[2]), notes)


def lost(kills, counts, size):
    """What the kills of a run cost, in words."""
    again = counts["bytes received"] - size
    return (f"killed {len(kills.lost)} times with {sum(kills.lost)} parts in flight",
            f"{again / MIB:,.0f} MiB sent again, {counts['parts received again']} parts received again")


def run_case(case, arguments, place):
    """Each program copies in each round, in an order that turns; gives what the file of the case has."""
    size = arguments.size
    bucket, programs, verdict = "source", {}, None
    with services(case, size, place) as (source, destination):
        copiers = variants(case, size, arguments.programs_of, place)
        if not copiers:
            print(f"{case.name} is left out: none of its programs can run here", file=sys.stderr)
            return None
        place.copied = seeds.fill(case, size, source, destination, bucket, "there")
        for number in range(arguments.rounds):
            for step, program in enumerate(copiers[number % len(copiers):] + copiers[:number % len(copiers)]):
                target = "there" if case.kind == "unchanged" else f"target-{number}-{step}"
                if case.kind != "unchanged":
                    client("s3", destination.endpoint, destination.authority).create_bucket(Bucket=target)
                run = measure(case, size, program, source, destination, bucket, target)
                programs.setdefault(program.name, []).append(run)
                say(case, program, run)
                is_load = program.name.startswith("load")
                if case.kind == "unchanged" and {"PutObject", "UploadPart"} & run.requests.keys():
                    sys.exit(f"{program.name} copied what was there already: {run.requests}")
                if not is_load and case.kind != "unchanged":
                    seeds.check(program.name, source, destination, bucket, target)
                is_last = number == arguments.rounds - 1
                if program.name == "s3migrate" and is_last and case.service != "computed":
                    verdict = seeds.check_all(place.copied, source, destination, bucket, target, place.directory)
                if case.kind != "unchanged":
                    seeds.remove(destination, target)
    return described(case, arguments, place, copiers, programs, verdict)


def say(case, program, run):
    print(f"{case.name}, {program.name}: {run.seconds:.2f} s, {run.cpu:.2f} s of processor, "
          f"{run.memory / MIB:.0f} MiB, services {run.services_cpu:.2f} s, {run.requests}, {run.control} {'; '.join(run.notes)}",
          file=sys.stderr, flush=True)


def described(case, arguments, place, copiers, programs, verdict):
    objects, total = len(place.copied), sum(size for size, _ in place.copied)
    is_bytes = case.costs == "byte"
    about = ABOUT[case.service].format("drops what it gets" if case.unchecked else "compares each byte")
    order = [program.name for program in copiers]
    versions = {program.name: program.version() for program in copiers}
    return {
        "name": case.name, "title": case.title(arguments.size), "size": arguments.size, "rounds": arguments.rounds,
        "date": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}", "commit": commit(), "machine": processor(),
        "cores": os.cpu_count(), "objects": objects, "bytes": total,
        "services": about + (f" The last copy by s3migrate: {verdict}." if verdict else ""),
        "rate": {"unit": "MiB/s", "amount": total / MIB} if is_bytes else {"unit": "objects/s", "amount": objects},
        "cost": {"unit": "a GiB", "amount": total / GIB} if is_bytes else {"unit": "an object", "amount": objects},
        "commands": {program.name: " ".join(filter(None, (program.explain(), versions[program.name] and
                                                          f"({versions[program.name]})"))) for program in copiers},
        "programs": {name: [dataclasses.asdict(run) for run in programs[name]] for name in order},
    }


def processor():
    """The cores of this machine and what they are, in words."""
    match = re.search(r"^model name\s*: (.+)$", pathlib.Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return f"{os.cpu_count()} cores of {match[1] if match else platform.machine()}, Linux {platform.release()}"


def commit():
    """The commit of this checkout, with a + if files differ from it."""
    git = lambda *words: subprocess.run(
        ["git", "-C", HERE.parent.parent, *words], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    differs = git("status", "--porcelain", "-uno", "--", ".", ":!bench/results")
    return git("rev-parse", "--short", "HEAD") + ("+" if differs else "")


def is_done(path, size):
    """True if a case has results of this size and this commit."""
    known = json.loads(path.read_text()) if path.exists() else {}
    return (known.get("size"), known.get("commit")) == (size, commit())


def write_report(results):
    known = [json.loads(path.read_text()) for path in results.glob("*.json")]
    (results / "README.md").write_text(figures.report(known))


def word(program):
    """The name of a program as one word."""
    return program.replace("jobsender + ", "").replace(", ", "-")


def parse():
    names = [case.name for case in CASES]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="*", default=[], metavar="CASE",
                        help=f"only these, or those that begin so: {', '.join(names)}")
    words = {word(name): name for name in ALL}
    parser.add_argument("--only", nargs="*", choices=words, default=words, metavar="PROGRAM",
                        help=f"only these programs: {', '.join(words)}")
    parser.add_argument("--size", choices=SIZES, default="standard")
    parser.add_argument("--rounds", type=int, help="1 in the sizes smoke and quick, otherwise 3")
    parser.add_argument("--resume", action="store_true",
                        help="leave out cases that have results of this size and commit")
    parser.add_argument("--programs", type=pathlib.Path, required=True, help="directory of this project's programs")
    parser.add_argument("--states", type=pathlib.Path, default="/var/tmp", help="where s3migrate's state is, on a disk")
    parser.add_argument("--results", type=pathlib.Path, default=HERE.parent / "results",
                        help="directory of the results")
    arguments = parser.parse_args()
    arguments.programs_of = [words[only] for only in arguments.only]
    arguments.rounds = arguments.rounds or (1 if arguments.size in ("smoke", "quick") else 3)
    is_chosen = lambda case: not arguments.cases or case.name.startswith(tuple(arguments.cases))
    chosen = list(filter(is_chosen, CASES))
    unknown = [name for name in arguments.cases if not any(known.startswith(name) for known in names)]
    if unknown:
        parser.error(f"there are no cases {' '.join(unknown)}")
    return arguments, chosen


def main():
    arguments, chosen = parse()
    # Whoever ends it ends the services too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by a signal"))
    arguments.results.mkdir(parents=True, exist_ok=True)
    directory = pathlib.Path(tempfile.mkdtemp(prefix="bench-", dir="/dev/shm"))
    place = Place(directory, arguments.programs, arguments.states, arguments.programs / "bench-tools")
    try:
        with control(place):
            for case in chosen:
                path = arguments.results / f"{case.name}.json"
                if arguments.resume and is_done(path, arguments.size):
                    continue
                place.directory = directory / case.name
                place.directory.mkdir()
                if done := run_case(case, arguments, place):
                    path.write_text(json.dumps(done, indent=1) + "\n")
                    write_report(arguments.results)
                shutil.rmtree(place.directory)
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
