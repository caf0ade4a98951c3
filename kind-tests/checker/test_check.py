"""Tests that the checker finds differences: a checker that can't fail proves nothing."""

import copy
import unittest

import check


class Held:
    """An in-memory bucket."""

    def __init__(self, bucket, prefix, objects):
        self.bucket, self.prefix, self.objects = bucket, prefix, objects

    def sizes(self):
        return {k: len(o["body"]) for k, o in self.objects.items() if k.startswith(self.prefix)}

    def read(self, key):
        found = self.objects[key]
        return {
            "ContentType": found["type"],
            "SHA-256": found["body"],
            "Metadata": found["metadata"],
            "Tags": found["tags"],
        }


def obj(body, kind="text/plain", metadata=None, tags=None):
    return {"body": body, "type": kind, "metadata": metadata or {"m": "1"}, "tags": tags or {"t": "1"}}


SOURCE = {"a": obj("aa"), "b/c": obj("c"), "empty": obj(""), "x.tmp": obj("no"), "k" * 1024: obj("long")}
JOB = {"ignore": ["*.tmp"]}


class Check(unittest.TestCase):
    def differences(self, change, prefix=""):
        copied = {prefix + k: copy.deepcopy(o) for k, o in SOURCE.items() if not k.endswith(".tmp")}
        copied = {k: o for k, o in copied.items() if len(k) <= 1024}
        change(copied)
        return check.compare(Held("s", "", SOURCE), Held("d", prefix, copied), JOB)[0]

    def test_a_whole_copy_has_no_difference(self):
        self.assertEqual(self.differences(lambda d: None), [])
        self.assertEqual(self.differences(lambda d: None, "under/"), [])

    def test_each_planted_difference_is_found(self):
        for name, change in {
            "missing": lambda d: d.pop("a"),
            "at the destination only": lambda d: d.update(more=obj("more")),
            "bytes and should have": lambda d: d.update(a=obj("aaa")),
            "SHA-256": lambda d: d.update(a=obj("ab")),
            "ContentType": lambda d: d.update(a=obj("aa", kind="text/html")),
            "Metadata": lambda d: d.update(a=obj("aa", metadata={"m": "2"})),
            "Tags": lambda d: d.update(a=obj("aa", tags={"t": "2"})),
            "destination only": lambda d: d.update({"x.tmp": obj("no")}),
            "failed to read": lambda d: d["a"].pop("tags"),
        }.items():
            found = self.differences(change)
            self.assertEqual(len(found), 1, (name, found))
            self.assertIn(name, found[0])

    def test_keys_are_mapped_as_documented(self):
        self.assertEqual(check.mapped("p/a", "p/", "q/", "Append"), "q/p/a")
        self.assertEqual(check.mapped("p/a", "p/", "q/", "Replace"), "q/a")
        self.assertIsNone(check.mapped("p/", "p/", "", "Replace"))
        self.assertIsNone(check.mapped("k" * 1024, "", "q", "Append"))


if __name__ == "__main__":
    unittest.main()
