"""What was measured, and what is computed of it: medians, ratios, tables. No processes, no files."""

import dataclasses
import statistics

MIB, GIB = 2**20, 2**30
# Programs that show floor and ceiling, and are no peers.
RAW = ("raw-relay", "load")


@dataclasses.dataclass(frozen=True)
class Run:
    """What one copy took."""

    seconds: float
    # Seconds of processor: of the program and those that it starts, and of the services.
    cpu: float
    services_cpu: float
    # Bytes of memory at the peak, of the process that has most.
    memory: int
    # S3 requests, and requests to queue and ledger, by what they are.
    requests: dict
    control: dict = dataclasses.field(default_factory=dict)
    # What else a case counts, as words.
    notes: tuple = ()


def median(runs, value):
    return statistics.median(value(run) for run in runs)


def is_ours(name):
    """True of this project's programs."""
    return name.split(",")[0] in ("s3migrate", "jobsender + worker")


def is_peer(name):
    return not is_ours(name) and name.split(",")[0] not in RAW


def fastest(programs):
    """The name of the fastest peer; None without one."""
    peers = [name for name in programs if is_peer(name)]
    return min(peers, key=lambda name: median(programs[name], lambda run: run.seconds), default=None)


def spread(ours, theirs, value):
    """The ratio of medians, and the least and the greatest ratio of any round, whose runs are neighbours in time."""
    of = lambda left, right: value(left) / value(right) if value(right) else float("inf")
    rounds = [of(left, right) for left, right in zip(ours, theirs)]
    ratio = median(ours, value) / median(theirs, value) if median(theirs, value) else float("inf")
    return ratio, min(rounds), max(rounds)


def ratio(ours, theirs, value):
    """A ratio in words."""
    return "{:.2f} × ({:.2f} … {:.2f})".format(*spread(ours, theirs, value))


def beside(name, ours, other, theirs):
    """What one program takes beside another, in a sentence."""
    speed = ratio(theirs, ours, lambda run: run.seconds)
    cpu = ratio(ours, theirs, lambda run: run.cpu)
    memory = max(run.memory for run in ours) / max(run.memory for run in theirs)
    return f"**{name}** beside {other}: {speed} the speed, {cpu} the processor time, {memory:.2f} × the memory."


def ceiling(case, runs, cores):
    """How much of the case's unit a client that costs nothing would copy a second, where the services have all cores;
    None where they took too little to be seen."""
    services = median(runs, lambda run: run.services_cpu)
    return case["rate"]["amount"] * cores / services if services else None


def sentences(case, programs, cores):
    """The ratios of a case, each in a sentence."""
    best, lines = fastest(programs), []
    for name in filter(is_ours, programs):
        for other in filter(None, (best, "raw-relay" if "raw-relay" in programs else None)):
            title = f"{other}, the fastest peer" if other == best else other
            lines.append(beside(name, programs[name], title, programs[other]))
    most = ceiling(case, programs["load"], cores) if "load" in programs else None
    if most:
        lines.append(f"A client that costs nothing would copy at most {most:,.0f} "
                     f"{case['rate']['unit']} on these services, by the processor time that they take for `load`.")
    return lines + scaling(programs) + scraped(programs)


def scraped(programs):
    """What serving metrics costs, for programs that ran with and without."""
    pairs = [(name, name.replace(", read every second", ", no metrics")) for name in programs]
    return [beside(name, programs[name], without, programs[without])
            for name, without in pairs if name != without and without in programs]


def scaling(programs):
    """How speed grows with cores, for programs that ran on several numbers of them."""
    lines = []
    for name in programs:
        base, _, cores = name.rpartition(", ")
        number, _, what = cores.partition(" ")
        one = f"{base}, 1 {what.removesuffix('s')}"
        if what in ("cores", "half cores") and one in programs:
            times = median(programs[one], lambda run: run.seconds) / median(programs[name], lambda run: run.seconds)
            linear = times / int(number)
            lines.append(f"{base}: {times:.2f} × as fast on {number} {what} as on 1, {linear:.2f} of linear.")
    return lines


def row(case, name, runs):
    seconds = sorted(run.seconds for run in runs)
    cost = case["cost"]["amount"]
    scale, unit, digits = (1e6 / cost, "µs", 0) if case["cost"]["unit"] != "a GiB" else (1 / cost, "s", 2)
    requests = median(runs, lambda run: sum(run.requests.values())) / cost
    control = median(runs, lambda run: sum(run.control.values())) / case["objects"]
    middle = statistics.median(seconds)
    return (f"| {name} | {middle:.2f} s | {seconds[0]:.2f} … {seconds[-1]:.2f} s "
            f"| {case['rate']['amount'] / middle:,.0f} "
            f"| {median(runs, lambda run: run.cpu) * scale:,.{digits}f} {unit} "
            f"| {median(runs, lambda run: run.services_cpu) * scale:,.{digits}f} {unit} "
            f"| {max(run.memory for run in runs) / MIB:.0f} MiB | {requests:.{2 if requests < 100 else 0}f} "
            f"| {f'{control:.3f}' if any(run.control for run in runs) else ''} |")


def kinds(name, runs):
    """The requests of the last run by what they are, in a line."""
    run = runs[-1]
    words = [f"{number:,} {kind}" for kind, number in sorted((run.requests | run.control).items())]
    return f"- {name}: {', '.join(words) or 'none'}{''.join(f'; {note}' for note in run.notes)}"


def section(case):
    """The part of the report about one case, as lines of Markdown. `case` is what its file has."""
    programs = {name: [Run(**run) for run in runs] for name, runs in case["programs"].items()}
    rate, cost = case["rate"]["unit"], case["cost"]["unit"]
    rounds = "1 round" if case["rounds"] == 1 else f"{case['rounds']} rounds in turns"
    about = (f"{case['date']}, commit {case['commit']}, {case['machine']}; size {case['size']}, "
             f"{rounds}. {case['services']}")
    return [
        f"## {case['name']}: {case['title']}", "", about, "",
        f"| program | seconds | range | {rate} | processor {cost} | services' processor {cost} | peak memory "
        f"| S3 requests {cost} | queue and ledger an object |", "|---|---:|---|---:|---:|---:|---:|---:|---:|",
        *(row(case, name, runs) for name, runs in programs.items()), "",
        *(line for sentence in sentences(case, programs, case["cores"]) for line in (sentence, "")),
        "Requests of the last run:", "",
        *(kinds(name, runs) for name, runs in programs.items()), "",
        "Commands: " + "; ".join(f"{name}: `{command}`" for name, command in case["commands"].items()) + ".", "",
    ]


def report(cases):
    """The report, by what the files of all cases have."""
    lines = [
        "# Copying, beside peers", "",
        "Written by `make bench`, which replaces the cases that it runs. [../README.md](../README.md) says what is run "
        "and what the columns mean.", "",
    ]
    for case in sorted(cases, key=lambda case: case["name"]):
        lines += section(case)
    return "\n".join(lines)
