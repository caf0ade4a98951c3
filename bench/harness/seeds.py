"""What the source has before a copy, and whether the destination has it afterwards."""

import concurrent.futures
import filecmp
import io
import json
import mimetypes
import os
import pathlib
import shutil
import subprocess
import sys

from boto3.s3.transfer import TransferConfig

from services import ACCESS, HERE, SECRET, client

MIB = 2**20
WRITERS = 3
# Objects, and bytes, that the independent checker reads at most: it reads both sides one object after another.
CHECKED_OBJECTS, CHECKED_BYTES = 25_000, 2**31
# As the AWS command line does: from 8 MiB on, in parts of 8 MiB.
UPLOAD = TransferConfig(multipart_threshold=8 * MIB, multipart_chunksize=8 * MIB)


def write_some(endpoint, bucket, objects):
    """Puts objects of random bytes."""
    s3 = client("s3", endpoint)
    for size, key in objects:
        s3.upload_fileobj(io.BytesIO(os.urandom(size)), bucket, key, Config=UPLOAD)


def write_files(endpoint, bucket, files):
    """Puts files, with their types."""
    s3 = client("s3", endpoint)
    for path, key in files:
        kind = mimetypes.guess_type(path)[0]
        s3.upload_file(path, bucket, key, Config=UPLOAD, ExtraArgs={"ContentType": kind} if kind else None)


def write(how, endpoint, bucket, objects):
    client("s3", endpoint).create_bucket(Bucket=bucket)
    with concurrent.futures.ProcessPoolExecutor(WRITERS) as pool:
        for done in [pool.submit(how, endpoint, bucket, objects[start::WRITERS]) for start in range(WRITERS)]:
            done.result()


def real_files(most):
    """So many files of the Rust toolchain with its documentation and of this machine, as pairs of path and key: one in
    four hundred is one of the largest, and the others are spread evenly over all."""
    printed = subprocess.run(["rustc", "--print", "sysroot"], check=True, stdout=subprocess.PIPE, text=True).stdout
    found = []
    for root in (pathlib.Path(printed.strip()), pathlib.Path("/usr/share"), pathlib.Path("/usr/lib")):
        for path in sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink()):
            name = f"{root.name}/{path.relative_to(root)}"
            if len(name) < 200 and name.isascii():
                found.append((str(path), name))
    large = set(sorted(found, key=lambda file: os.path.getsize(file[0]))[-(most // 400):] if most >= 400 else ())
    others, few = [file for file in found if file not in large], most - len(large)
    return [*sorted(large), *(others[place * len(others) // few] for place in range(min(few, len(others))))]


def fill(case, size, source, destination, bucket, target):
    """Makes the source's bucket, and for a case in which nothing changes the destination's; gives its objects as pairs
    of size and key."""
    if case.kind == "tree":
        files = real_files(case.groups(size)[0].count)
        write(write_files, source.endpoint, bucket, files)
        return [(os.path.getsize(path), key) for path, key in files]
    objects = list(case.keys(size))
    if case.service != "computed":
        write(write_some, source.endpoint, bucket, objects)
        return objects
    source.fill(bucket, objects)
    if case.kind == "unchanged":
        destination.fill(target, objects)
    return objects


def remove(destination, bucket):
    """Removes a bucket with all that it has, past the service where it can be."""
    if hasattr(destination, "drop"):
        destination.drop(bucket)
    elif hasattr(destination, "data"):
        shutil.rmtree(destination.data / bucket)
    else:
        s3 = client("s3", destination.endpoint)
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
            if page.get("Contents"):
                keys = [{"Key": entry["Key"]} for entry in page["Contents"]]
                s3.delete_objects(Bucket=bucket, Delete={"Objects": keys})


def listed(server, bucket):
    """Size and ETag of each object by its key. Those in parts have ETags of their own at the destination."""
    pages = client("s3", server.endpoint, server.authority).get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return {entry["Key"]: (entry["Size"], entry["ETag"]) for page in pages for entry in page.get("Contents", [])}


def files(bucket):
    """The objects of a bucket as the gateway keeps them: paths of files, without its own directory for uploads."""
    return {str(path.relative_to(bucket)) for path in bucket.rglob("*")
            if path.is_file() and not path.relative_to(bucket).parts[0].startswith(".")}


def check(program, source, destination, bucket, target):
    """Fails unless both sides list the same keys, sizes and ETags, and where the services are directories, the bytes of
    every object are equal. A computed destination compared the bytes when they came."""
    left, right = listed(source, bucket), listed(destination, target)
    differs = lambda one, other: one[0] != other[0] or ("-" not in one[1] + other[1] and one[1] != other[1])
    wrong = [key for key in left.keys() & right.keys() if differs(left[key], right[key])]
    if left.keys() != right.keys() or wrong:
        sys.exit(f"{program}: the copy of {bucket} is not whole: {len(right)} of {len(left)} keys, {len(wrong)} others")
    if hasattr(source, "data") and hasattr(destination, "data"):
        sides = (source.data / bucket, destination.data / target)
        _, different, unread = filecmp.cmpfiles(*sides, files(sides[0]), shallow=False)
        if different or unread:
            sys.exit(f"{program}: {len(different)} objects of {bucket} have other bytes, {len(unread)} are unreadable")


def check_all(objects, source, destination, bucket, target, directory):
    """What the independent checker says of bytes, headers, metadata and tags; None where it would take too long. Fails
    where it finds a difference."""
    if len(objects) > CHECKED_OBJECTS or sum(size for size, _ in objects) > CHECKED_BYTES:
        return None
    side = lambda server, name: {"endpoint": server.endpoint, "key": ACCESS, "secret": SECRET, "bucket": name}
    job = directory / "check.json"
    job.write_text(json.dumps({"source": side(source, bucket), "destination": side(destination, target)}))
    checker = HERE.parent.parent / "kind-tests/checker/check.py"
    done = subprocess.run([sys.executable, checker, job], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"the copy of {bucket} is not whole: {done.stdout}")
    return done.stdout.strip()
