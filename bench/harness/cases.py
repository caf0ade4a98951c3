"""The cases of `make bench`, in four sizes."""

import collections
import dataclasses

from tree import directory_of

KIB, MIB, GIB = 2**10, 2**20, 2**30
SIZES = ("smoke", "quick", "standard", "full")
OURS, RAW = ("s3migrate", "jobsender + worker"), ("raw-relay", "load")
PEERS = ("rclone", "rclone, tuned", "s3sync")
ALL = (*OURS, *PEERS, "s5cmd", *RAW)


@dataclasses.dataclass(frozen=True)
class Group:
    """So many objects of a size."""

    count: int
    size: int

    def title(self):
        units = ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB"), (1, "B"))
        size = next(f"{self.size // unit} {name}" for unit, name in units if self.size % unit == 0)
        return f"{self.count:,} × {size}"


@dataclasses.dataclass(frozen=True)
class Case:
    """What is copied, between what, by whom."""

    name: str
    # Objects by size of the case.
    objects: dict
    # "memory", "gateway" or "computed".
    service: str
    programs: tuple = ALL
    # "object" or "byte": what its figures are for.
    costs: str = "object"
    # What is special: "copy", "tree" (real files), "unchanged" (all is there), "killed", "cores",
    # "halves" (workers of half a core) or "scraped" (with and without metrics).
    kind: str = "copy"
    # Round trip to the destination in ms, and bytes a second on the way.
    round_trip: int = 0
    rate: dict = dataclasses.field(default_factory=dict)
    tls: bool = False
    unchecked: bool = False
    # Seconds of copying between two kills, by size of the case.
    kill_every: dict = dataclasses.field(default_factory=dict)
    tuned: tuple = ()

    def groups(self, size):
        return self.objects[size]

    def keys(self, size):
        """All objects as pairs of size and key."""
        number = 0
        for group in self.groups(size):
            for _ in range(group.count):
                yield group.size, f"{directory_of(number)}/part-{number:08}.bin"
                number += 1

    def title(self, size):
        """What it is, in words."""
        groups = self.groups(size)
        words = [groups[0].title() if len(groups) == 1 else mixed(groups)]
        if self.kind == "tree":
            words = ["real files"]
        if self.kind == "unchanged":
            words.append("all there already")
        if self.round_trip:
            words.append(f"{self.round_trip} ms round trip at the destination")
        if self.rate.get(size):
            words.append(f"at most {self.rate[size] / 1e6:.0f} MB/s")
        if self.tls:
            words.append("TLS on both sides")
        if self.kill_every:
            words.append(f"killed after every {self.kill_every[size]} s of copying")
        return ", ".join([*words, {"memory": "the demo's server in memory", "gateway": "versitygw",
                                   "computed": "computed objects"}[self.service]])


def mixed(groups):
    total = sum(group.count * group.size for group in groups)
    count = sum(group.count for group in groups)
    least, most = min(group.size for group in groups), max(group.size for group in groups)
    return f"{count:,} objects of {least // MIB} MiB to {most // MIB} MiB, {total / GIB:.1f} GiB together"


def sizes(smoke, quick, standard, full=None):
    """The same kind of objects in all sizes."""
    return dict(zip(SIZES, (smoke, quick, standard, full or standard)))


def of(size, *counts):
    """So many objects of one size, by size of the case."""
    return sizes(*([Group(count, size)] for count in counts))


def headline(count, total, most=1_240):
    """Objects of 4 MiB to `most` MiB, of so many bytes together: many small ones and a few large ones, by a power of
    their rank. Sizes are whole MiB, so that the computed service knows few parts."""
    power = (most - 4) / (total / count / MIB - 4) - 1
    spread = [4 + (most - 4) * (rank / (count - 1)) ** power for rank in range(count)]
    counts = collections.Counter(round(size) * MIB for size in spread)
    return [Group(number, size) for size, number in sorted(counts.items())]


SMALL, LARGE = 10 * KIB, 256 * MIB
A = of(SMALL, 40, 2_000, 20_000)
B = of(MIB, 4, 100, 1_000)
C = sizes([Group(1, 32 * MIB)], [Group(2, LARGE)], [Group(16, LARGE)])

CASES = [
    Case("a-memory", A, "memory"),
    Case("a-gateway", A, "gateway"),
    Case("b-memory", B, "memory", costs="object"),
    Case("b-gateway", B, "gateway", costs="object"),
    Case("c-gateway", C, "gateway", costs="byte"),
    Case("c-computed", C, "computed", costs="byte"),
    Case("d-computed", sizes([Group(1, 64 * MIB)], [Group(1, GIB)], [Group(1, 8 * GIB)]), "computed", costs="byte",
         programs=(*OURS, *PEERS, *RAW)),
    # The number is that of the files at most.
    Case("e-gateway", sizes([Group(40, 1)], [Group(1_000, 1)], [Group(6_000, 1)]), "gateway", kind="tree"),
    Case("f-computed", of(100 * KIB, 3_000, 100_000, 1_000_000), "computed", kind="unchanged",
         programs=(*OURS, *PEERS)),
    Case("g-small", of(SMALL, 20, 300, 2_000, 20_000), "computed", programs=(*OURS, *PEERS, "raw-relay"),
         round_trip=100, tuned=("--transfers", "32", "--checkers", "32")),
    Case("g-large", sizes([Group(1, 32 * MIB)], [Group(1, LARGE)], [Group(4, LARGE)], [Group(16, LARGE)]), "computed",
         programs=(*OURS, *PEERS, "raw-relay"), costs="byte", round_trip=100,
         rate=sizes(*(125_000_000,) * 4), tuned=("--transfers", "32", "--checkers", "32")),
    Case("h-small", A, "computed", tls=True, programs=(*OURS, *PEERS, *RAW)),
    Case("h-large", C, "computed", tls=True, programs=(*OURS, *PEERS, *RAW), costs="byte"),
    Case("i-small", A, "computed", kind="cores", programs=(*OURS, *PEERS, "raw-relay"), unchecked=True),
    Case("i-large", sizes([Group(1, 32 * MIB)], [Group(2, LARGE)], [Group(8, LARGE)], [Group(16, LARGE)]), "computed",
         kind="cores", programs=(*OURS, *PEERS, "raw-relay"), costs="byte", unchecked=True),
    Case("i-halves", sizes([Group(1, 256 * MIB)], [Group(1, GIB)], [Group(1, 8 * GIB)]), "computed", kind="halves",
         programs=("jobsender + worker",), costs="byte", unchecked=True),
    Case("j-headline", sizes(headline(5, 100 * MIB, 40), headline(27, 10**9, 310), headline(131, 5 * 10**9),
                             headline(1_310, 50 * 10**9)),
         "computed", costs="byte", programs=(*OURS, *PEERS, "raw-relay")),
    # A worker that lives so long has recorded most of its verified parts: they are recorded 1, 3, 7, 15 and 31 s after
    # its start, and later every 30 s. The full size is as slow as the predecessor's link was.
    Case("j-killed", sizes([Group(1, 6 * GIB)], [Group(1, 6 * GIB)], [Group(1, 16 * GIB)], [Group(1, 80 * GIB)]),
         "computed", costs="byte", kind="killed", programs=OURS, kill_every=sizes(35, 35, 40, 900),
         rate=sizes(150_000_000, 150_000_000, 150_000_000, 25_000_000)),
    Case("k-scraped", A, "memory", kind="scraped", programs=("jobsender + worker",)),
]
