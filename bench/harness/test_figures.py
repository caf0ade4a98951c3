import unittest

import figures
from figures import GIB, Run


def run(seconds, cpu=1.0, services_cpu=1.0, memory=2**20, **more):
    return Run(seconds, cpu, services_cpu, memory, {"GetObject": 2, "PutObject": 2}, **more)


def case(programs, **more):
    return {
        "name": "a", "title": "2 × 10 KiB", "date": "2026-01-01", "commit": "abc", "machine": "2 cores", "cores": 2,
        "size": "full", "rounds": 2, "services": "Two.", "objects": 2, "rate": {"unit": "objects/s", "amount": 2},
        "cost": {"unit": "an object", "amount": 2}, "commands": {name: name for name in programs},
        "programs": {name: [vars(one) for one in runs] for name, runs in programs.items()},
    } | more


class Figures(unittest.TestCase):
    def test_the_fastest_peer_is_none_of_ours_and_no_raw_client(self):
        programs = {"s3migrate": [run(1)], "jobsender + worker": [run(1)], "raw-relay": [run(1)], "load": [run(1)],
                    "rclone": [run(3)], "s3sync": [run(2), run(9), run(2)]}
        self.assertEqual(figures.fastest(programs), "s3sync")
        self.assertIsNone(figures.fastest({"s3migrate, 1 core": [run(1)], "raw-relay, 1 core": [run(1)]}))

    def test_ratios_are_of_medians_and_their_spread_of_rounds(self):
        ours, theirs = [run(1), run(2), run(4)], [run(2), run(2), run(2)]
        self.assertEqual(figures.spread(ours, theirs, lambda run: run.seconds), (1.0, 0.5, 2.0))
        self.assertEqual(figures.spread(ours, [run(1, cpu=0)] * 3, lambda run: run.cpu)[0], float("inf"))

    def test_sentences_name_peer_floor_and_ceiling(self):
        programs = {"s3migrate": [run(1)], "rclone": [run(2)], "raw-relay": [run(0.5)],
                    "load": [run(0.4, services_cpu=4)]}
        lines = figures.sentences(case(programs), programs, 2)
        self.assertIn("beside rclone, the fastest peer: 2.00 × (2.00 … 2.00) the speed", lines[0])
        self.assertIn("beside raw-relay: 0.50 ×", lines[1])
        self.assertIn("at most 1 objects/s", lines[2])
        self.assertEqual(len(lines), 3)
        programs["load"] = [run(0.4, services_cpu=0)]
        self.assertEqual(len(figures.sentences(case(programs), programs, 2)), 2)

    def test_cores_are_compared_with_one(self):
        programs = {"s3migrate, 1 core": [run(4)], "s3migrate, 2 cores": [run(2.5)], "rclone, tuned, 2 cores": [run(1)]}
        self.assertEqual(figures.scaling(programs), ["s3migrate: 1.60 × as fast on 2 cores as on 1, 0.80 of linear."])
        programs = {"jobsender + worker, 1 half core": [run(4)], "jobsender + worker, 2 half cores": [run(2)]}
        self.assertEqual(figures.scaling(programs),
                         ["jobsender + worker: 2.00 × as fast on 2 half cores as on 1, 1.00 of linear."])

    def test_rows_have_the_units_of_their_case(self):
        small = figures.row(case({}), "x", [run(2, cpu=0.5, control={"SendMessage": 1})])
        self.assertEqual(small, "| x | 2.00 s | 2.00 … 2.00 s | 1 | 250,000 µs | 500,000 µs | 1 MiB | 2.00 | 0.500 |")
        large = case({}, rate={"unit": "MiB/s", "amount": 2048}, cost={"unit": "a GiB", "amount": 2 * GIB / GIB})
        self.assertEqual(figures.row(large, "x", [run(2)]),
                         "| x | 2.00 s | 2.00 … 2.00 s | 1,024 | 0.50 s | 0.50 s | 1 MiB | 2.00 |  |")

    def test_the_report_has_all_cases_in_order(self):
        text = figures.report([case({"rclone": [run(2)]}, name="b"), case({"s3migrate": [run(1), run(2)]}, name="a")])
        self.assertLess(text.index("## a:"), text.index("## b:"))
        self.assertIn("- s3migrate: 2 GetObject, 2 PutObject", text)
        self.assertIn("commit abc", text)


if __name__ == "__main__":
    unittest.main()
