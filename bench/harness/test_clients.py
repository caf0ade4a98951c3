import unittest

import clients
from clients import Measured


class Clients(unittest.TestCase):
    def test_times_are_for_an_object_and_ratios_beside_the_store(self):
        runs = {way: [Measured(10, 2, 0.002, 0.001), Measured(10, 4, 0.004, 0.001)] for way in clients.WAYS}
        runs["direct"] = [Measured(10, 2, 0.001, 0.001), Measured(10, 2, 0.001, 0.001)]
        lines = clients.section("10 × 1 B", 10, runs)
        self.assertIn("| the SDK, slimmed | 300 µs | 200 … 400 µs | 3.00 × (2.00 … 4.00) | 3 | 100 µs |", lines)
        own = "| the store's own requests | 100 µs | 100 … 100 µs | 1.00 × (1.00 … 1.00) | 5 | 100 µs |"
        self.assertIn(own, lines)

    def test_the_page_has_every_case(self):
        runs = {way: [Measured(10, 2, 0.002, 0.001)] for way in clients.WAYS}
        page = clients.page([("one", 10, runs), ("two", 10, runs)], "measured")
        self.assertTrue("## one" in page and "## two" in page and "measured" in page)
        self.assertEqual(page.count("| 200 µs |"), 2 * len(clients.WAYS))

    def test_versions_are_those_of_the_programs_libraries(self):
        self.assertRegex(clients.version("mountpoint-s3-client"), r"^mountpoint-s3-client \d+\.\d+\.\d+$")


if __name__ == "__main__":
    unittest.main()
