import unittest

from cases import CASES, GIB, MIB, SIZES, headline


class Cases(unittest.TestCase):
    def test_names_are_letters_of_the_list_and_no_beginning_of_another(self):
        names = [case.name for case in CASES]
        self.assertEqual(sorted({name[0] for name in names}), list("abcdefghijk"))
        self.assertFalse([(one, other) for one in names for other in names if one != other and other.startswith(one)])

    def test_every_case_has_every_size(self):
        for case in CASES:
            for table in (case.objects, *filter(None, (case.rate, case.kill_every))):
                self.assertEqual(tuple(table), SIZES, case.name)
            amounts = [sum(group.count * group.size for group in case.groups(size)) for size in SIZES]
            self.assertEqual(amounts, sorted(amounts), f"{case.name}: a larger size is smaller")

    def test_keys_are_as_many_as_the_title_says_and_different(self):
        for case in CASES:
            keys = [key for _, key in case.keys("quick")]
            self.assertEqual(len(set(keys)), sum(group.count for group in case.groups("quick")), case.name)
        self.assertIn("1,000 × 1 MiB", next(case for case in CASES if case.name == "b-memory").title("standard"))

    def test_the_headline_is_that_of_the_predecessor(self):
        groups = headline(1_310, 50 * 10**9)
        self.assertEqual(sum(group.count for group in groups), 1_310)
        self.assertEqual((groups[0].size, groups[-1].size), (4 * MIB, 1_240 * MIB))
        self.assertAlmostEqual(sum(group.count * group.size for group in groups) / 50e9, 1, delta=0.02)
        self.assertTrue(all(group.size % MIB == 0 for group in groups))
        self.assertGreater(groups[-1].size, GIB)


if __name__ == "__main__":
    unittest.main()
