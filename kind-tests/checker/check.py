"""Compares two buckets without any code of this project, with boto3 and hashlib only.

    check.py JOB.json

JOB.json holds both sides (endpoint, key, secret, bucket, prefix), the prefix mode and the patterns of the ignore list.
Every source object that no pattern excludes must be at its mapped key with the same bytes (SHA-256), size, headers such
as Content-Type, user metadata and tags, and nothing else may be at the destination.
Prints each difference, then a summary line. Exits with 1 if there is a difference.
"""

import fnmatch
import hashlib
import json
import re
import sys
from concurrent.futures import ProcessPoolExecutor

HEADERS = ("ContentType", "CacheControl", "ContentDisposition", "ContentEncoding", "ContentLanguage")
PROCESSES = 3


class S3Side:
    """A bucket on an S3 service."""

    def __init__(self, endpoint, key, secret, bucket, prefix="", region="us-east-1"):
        self.arguments = (endpoint, key, secret, bucket, prefix, region)
        self.bucket, self.prefix, self.client = bucket, prefix, None

    def __getstate__(self):
        return self.arguments

    def __setstate__(self, arguments):
        self.__init__(*arguments)

    def s3(self):
        import boto3
        from botocore.config import Config

        if self.client is None:
            endpoint, key, secret, _, _, region = self.arguments
            config = Config(s3={"addressing_style": "path"}, retries={"max_attempts": 3}, parameter_validation=False)
            self.client = boto3.client(
                "s3",
                endpoint_url=endpoint,
                region_name=region,
                aws_access_key_id=key,
                aws_secret_access_key=secret,
                config=config,
            )
        return self.client

    def sizes(self):
        pages = self.s3().get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.prefix)
        return {o["Key"]: o["Size"] for page in pages for o in page.get("Contents", [])}

    def read(self, key):
        answer = self.s3().get_object(Bucket=self.bucket, Key=key)
        digest = hashlib.sha256()
        for chunk in answer["Body"].iter_chunks(1 << 20):
            digest.update(chunk)
        tags = self.s3().get_object_tagging(Bucket=self.bucket, Key=key)["TagSet"]
        found = {name: answer.get(name) for name in HEADERS}
        found["SHA-256"] = digest.hexdigest()
        found["Metadata"] = answer["Metadata"]
        found["Tags"] = {t["Key"]: t["Value"] for t in tags}
        return found


def mapped(key, source_prefix, destination_prefix, mode):
    """Returns the destination key of a source key, or None if S3 does not accept it."""
    tail = key[len(source_prefix) :] if mode == "Replace" else key
    result = destination_prefix + tail
    return result if 0 < len(result.encode()) <= 1024 else None


def wanted(keys, bucket, patterns):
    """Returns the keys that no pattern excludes."""
    compiled = [re.compile(fnmatch.translate(p)) for p in patterns if p]
    return [k for k in keys if not any(p.match(f"{bucket}/{k}") for p in compiled)]


def compare_object(work):
    """Returns the differences between a source object and its copy."""
    source, destination, key, target = work
    try:
        left, right = source.read(key), destination.read(target)
    except Exception as error:  # an unreadable object is a difference, and the others are still compared
        return [f"{key!r}: failed to read: {error}"]
    names = [name for name in left if left[name] != right[name]]
    return [f"{key!r}: {name} is {right[name]!r} and should be {left[name]!r}" for name in names]


def compare(source, destination, job, run=map):
    """Returns all differences, and the number and total bytes of the objects compared."""
    at_source, at_destination = source.sizes(), destination.sizes()
    differences, work = [], []
    expected = set()
    for key in wanted(at_source, source.bucket, job.get("ignore", [])):
        target = mapped(key, source.prefix, destination.prefix, job.get("prefixMode", "Append"))
        if target is None:
            continue
        expected.add(target)
        if target not in at_destination:
            differences.append(f"{key!r}: missing at {target!r}")
        elif at_destination[target] != at_source[key]:
            differences.append(f"{key!r}: has {at_destination[target]} bytes and should have {at_source[key]}")
        else:
            work.append((source, destination, key, target))
    differences += [f"{key!r}: at the destination only" for key in sorted(set(at_destination) - expected)]
    work.sort(key=lambda w: -at_source[w[2]])
    for found in run(compare_object, work):
        differences += found
    return differences, len(expected), sum(at_source[w[2]] for w in work)


def main(path):
    with open(path) as file:
        job = json.load(file)
    source, destination = S3Side(**job["source"]), S3Side(**job["destination"])
    with ProcessPoolExecutor(PROCESSES) as pool:
        differences, objects, size = compare(
            source, destination, job, lambda f, work: pool.map(f, work, chunksize=32)
        )
    for difference in differences[:100]:
        print(difference)
    verdict = f"{len(differences)} differences" if differences else "no difference"
    print(f"checked {objects} objects, {size} bytes: {verdict}")
    return 1 if differences else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1]))
