"""A million keys on both sides, written past the services: through them it would take an hour."""

import hashlib
import os

# Of a hundred keys, so many are missing at the destination, have another size there, or another content of that size.
MISSING, OTHER_SIZE, OTHER_CONTENT = 5, 3, 2
PER_DIRECTORY = 1_000


def kind(number):
    """What a key is: spread evenly, so that every page of a listing has some of each."""
    place = number * 37 % 100
    if place < MISSING:
        return "missing"
    if place < MISSING + OTHER_SIZE:
        return "size"
    return "content" if place < MISSING + OTHER_SIZE + OTHER_CONTENT else "same"


def directory_of(number):
    """Logs by date and host."""
    group = number // PER_DIRECTORY
    day = group % 28 + 1
    return f"logs/2025/{group // 28 % 12 + 1:02}/{day:02}/host-{group // 336:04}"


def seed(source, destination, count, etag_name, quoted):
    """Makes the files of both buckets: sparse ones of the right size, with the ETag where the gateway looks for it. Gives
    how many keys there are of each kind."""
    counts = {}
    for number in range(count):
        what = kind(number)
        counts[what] = counts.get(what, 0) + 1
        parent = directory_of(number)
        if number % PER_DIRECTORY == 0:
            os.makedirs(f"{source}/{parent}", exist_ok=True)
            os.makedirs(f"{destination}/{parent}", exist_ok=True)
        name = f"{parent}/part-{number:08}.json.gz"
        size = 100 + number * 7919 % 900_000
        make(f"{source}/{name}", size, etag(number, quoted), etag_name)
        if what == "same":
            os.link(f"{source}/{name}", f"{destination}/{name}")
        elif what == "size":
            make(f"{destination}/{name}", size + 1, etag(number + count, quoted), etag_name)
        elif what == "content":
            make(f"{destination}/{name}", size, etag(number + count, quoted), etag_name)
    return counts


def etag(number, quoted):
    digest = hashlib.md5(str(number).encode()).hexdigest()
    return (f'"{digest}"' if quoted else digest).encode()


def make(path, size, tag, etag_name):
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        os.ftruncate(handle, size)
        os.setxattr(handle, etag_name, tag)
    finally:
        os.close(handle)
