"""Measures uploads by TCP congestion control over a link that loses packets: lossy.py --programs DIRECTORY.

Two network namespaces are joined by TUN devices, between which this program delays, paces and loses packets, since not
every kernel has netem. Uploads are measured with one connection, and with `s3migrate copy` between two services of
`bench-tools computed`. Prints a table. Needs Linux, root, ip (iproute2), and `make programs`."""

import argparse
import collections
import contextlib
import ctypes
import fcntl
import os
import pathlib
import random
import select
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

SPACES = ("s3-migration-near", "s3-migration-far")
NEAR, FAR = ADDRESSES = ("10.209.0.1", "10.209.0.2")
CLONE_NEWNET, TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x40000000, 0x400454CA, 0x0001, 0x1000
SINK, RELAY, SOURCE, DESTINATION = 5001, 5002, 5003, 5004
MIB = 1 << 20
COPIES = {"an object of 128 MiB": [(128 * MIB, "one")], "16 objects of 8 MiB": [(8 * MIB, f"k{n}") for n in range(16)]}


def enter(space):
    """Moves this thread into a network namespace."""
    with open(f"/var/run/netns/{space}", "rb") as file:
        if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "failed to enter a network namespace")


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True)


def device(space):
    enter(space)
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH", b"lossy", IFF_TUN | IFF_NO_PI))
    return tun


def carry(delay, loss, rate):
    """Carries packets between the namespaces: `delay` seconds and `rate` bytes per second each way; a queue of 200 ms."""
    near, far = device(SPACES[0]), device(SPACES[1])
    to, chance, poll = {near: far, far: near}, random.Random(1), select.epoll()
    queues, free = {near: collections.deque(), far: collections.deque()}, {near: 0.0, far: 0.0}
    for tun in to:
        poll.register(tun, select.EPOLLIN)
    print("up", flush=True)
    while True:
        next_due = min((queue[0][0] for queue in queues.values() if queue), default=time.monotonic() + 0.05)
        for tun, _ in poll.poll(max(0, min(0.05, next_due - time.monotonic()))):
            now = time.monotonic()
            with contextlib.suppress(BlockingIOError):
                for _ in range(64):
                    packet = os.read(tun, 65536)
                    start = max(now, free[tun])
                    if chance.random() >= loss and start - now <= 0.2:
                        free[tun] = start + len(packet) / rate
                        queues[tun].append((free[tun] + delay, packet))
        for tun, queue in queues.items():
            while queue and queue[0][0] <= time.monotonic():
                with contextlib.suppress(OSError):
                    os.write(to[tun], queue.popleft()[1])


def pump(source, target):
    """Passes bytes on; without a target, drops them."""
    with contextlib.suppress(OSError):
        while data := source.recv(MIB):
            if target:
                target.sendall(data)
    if target:
        target.close()


def far_end():
    """Takes what one connection sends, and passes others on to the destination, which listens to its machine only."""
    enter(SPACES[1])

    def serve(port):
        for connection, _ in iter(socket.create_server((FAR, port), backlog=512).accept, None):
            target = socket.create_connection(("127.0.0.1", DESTINATION)) if port == RELAY else None
            threading.Thread(target=pump, args=(connection, target), daemon=True).start()
            if target:
                threading.Thread(target=pump, args=(target, connection), daemon=True).start()
    threading.Thread(target=serve, args=(SINK,), daemon=True).start()
    serve(RELAY)


def one_connection(algorithm, seconds=20):
    """Returns the MB/s of one connection."""
    with socket.create_connection((FAR, SINK)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, algorithm.encode())
        began, sent = time.monotonic(), 0
        while time.monotonic() - began < seconds:
            sent += connection.send(b"x" * 65536)
    return sent / seconds / 1e6


def administer(space, port, bucket, body):
    def ask():
        enter(space)
        request = urllib.request.Request(f"http://127.0.0.1:{port}/-/{bucket}", data=body.encode(), method="PUT")
        urllib.request.urlopen(request, timeout=60).close()
    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()


def copy(programs, algorithm, name, objects):
    """Returns the seconds of a copy."""
    bucket = f"{algorithm}-{len(objects)}"
    administer(SPACES[0], SOURCE, bucket, "\n".join(f"{size} {key}" for size, key in objects))
    administer(SPACES[1], DESTINATION, bucket, "")
    with tempfile.TemporaryDirectory() as state:
        began = time.monotonic()
        subprocess.run(
            [programs / "s3migrate", "copy", f"s3://{bucket}", f"s3://{bucket}", "--quiet", "--state-dir", state,
             "--tcp-congestion-control", algorithm, "--source-endpoint", f"http://127.0.0.1:{SOURCE}",
             "--destination-endpoint", f"http://{FAR}:{RELAY}"],
            check=True, env={**os.environ, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"})
        return time.monotonic() - began


@contextlib.contextmanager
def running(space, *command):
    """Runs a program, which tells by a line that it is up."""
    inside = ["ip", "netns", "exec", space] if space else []
    with subprocess.Popen([*inside, *command], stdout=subprocess.PIPE, text=True) as process:
        next(line for line in process.stdout if line.startswith(("up", "port")))
        try:
            yield
        finally:
            process.kill()


def measure(arguments):
    algorithms = arguments.algorithms.split(",")
    print(f"| uploaded | {' | '.join(algorithms)} |\n|---{'|---' * len(algorithms)}|")
    rates = [f"{one_connection(algorithm):.1f} MB/s" for algorithm in algorithms]
    print(f"| one connection | {' | '.join(rates)} |")
    for name, objects in COPIES.items():
        times = [f"{copy(arguments.programs, algorithm, name, objects):.0f} s" for algorithm in algorithms]
        print(f"| `s3migrate copy` of {name} | {' | '.join(times)} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", type=pathlib.Path, help="directory of s3migrate and bench-tools")
    parser.add_argument("--algorithms", default="cubic,bbr", help="of the kernel, by commas")
    parser.add_argument("--round-trip", type=float, default=200, help="in milliseconds")
    parser.add_argument("--loss", type=float, default=0.001, help="share of the packets")
    parser.add_argument("--rate", type=float, default=100, help="in Mbit/s")
    parser.add_argument("--role", choices=["link", "far"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.role == "link":
        carry(arguments.round_trip / 2000, arguments.loss, arguments.rate * 1e6 / 8)
    if arguments.role == "far":
        threading.Timer(0.5, print, ["up"], {"flush": True}).start()
        far_end()
    again = [sys.executable, __file__, *sys.argv[1:], "--role"]
    computed = [arguments.programs / "bench-tools", "computed", "--counts", "0", "--port"]
    with contextlib.ExitStack() as stack:
        for space in SPACES:
            ip("netns", "add", space)
            stack.callback(ip, "netns", "delete", space)
        stack.enter_context(running(None, *again, "link"))
        for space, own, peer in zip(SPACES, ADDRESSES, reversed(ADDRESSES)):
            ip("-n", space, "address", "add", own, "peer", peer, "dev", "lossy")
            for name in ("lossy", "lo"):
                ip("-n", space, "link", "set", name, "up")
        stack.enter_context(running(SPACES[0], *computed, str(SOURCE)))
        stack.enter_context(running(SPACES[1], *computed, str(DESTINATION)))
        stack.enter_context(running(None, *again, "far"))
        enter(SPACES[0])
        measure(arguments)


if __name__ == "__main__":
    main()
