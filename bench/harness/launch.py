"""Runs a program to its end and writes to a file what it took: launch.py REPORT PROGRAM [ARGUMENT…].

A process of its own, and a small one: the peak memory that Linux gives for a program begins at that of the process
which starts it. The program's process id is in REPORT.pid while it runs."""

import json
import os
import sys
import time


def main(report, command):
    began = time.monotonic()
    process = os.posix_spawnp(command[0], command, os.environ)
    with open(f"{report}.new", "w", encoding="utf-8") as file:
        file.write(str(process))
    os.rename(f"{report}.new", f"{report}.pid")
    _, status, usage = os.wait4(process, 0)
    seconds = time.monotonic() - began
    with open(report, "w", encoding="utf-8") as file:
        json.dump({"code": os.waitstatus_to_exitcode(status), "seconds": seconds,
                   "cpu": usage.ru_utime + usage.ru_stime, "memory": usage.ru_maxrss * 1024}, file)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
