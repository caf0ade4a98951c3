"""Runs `s3migrate demo` in a terminal, and writes pictures of it as SVG: one while the bars are on the screen, and one
of the end. The pictures of the README are made so: `make picture`."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from itertools import groupby
from pathlib import Path

import pyte
from rich.color import ColorParseError
from rich.console import Console
from rich.style import Style
from rich.terminal_theme import MONOKAI
from rich.text import Text

COLUMNS, LINES = 110, 26
# Share of the objects that are copied when the picture with the bars is taken.
PICTURED = 0.5


def start(program: str) -> tuple[subprocess.Popen, int]:
    """Starts the demo in a terminal of its own."""
    here, there = pty.openpty()
    fcntl.ioctl(there, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(COLUMNS)}
    child = subprocess.Popen([program, "demo"], stdin=there, stdout=there, stderr=there, env=environment, close_fds=True)
    os.close(there)
    return child, here


def look(character: pyte.screens.Char) -> tuple[str, bool]:
    """Returns what distinguishes a character's style."""
    return character.fg, character.bold


def style(foreground: str, bold: bool) -> Style:
    """Returns a style of rich for colors of pyte."""
    color = None if foreground == "default" else foreground.replace("brown", "yellow")
    try:
        return Style(color=color, bold=bold)
    except ColorParseError:
        return Style(color=f"#{color}", bold=bold)


def picture(screen: pyte.Screen, file: Path) -> None:
    """Writes what is on the screen."""
    console = Console(record=True, width=COLUMNS, file=open(os.devnull, "w", encoding="utf-8"), color_system="truecolor")
    rows = [screen.buffer[row] for row in range(LINES)]
    while rows and not "".join(rows[-1][column].data for column in range(COLUMNS)).strip():
        rows.pop()
    for row in rows:
        line = Text(end="")
        for (foreground, bold), group in groupby((row[column] for column in range(COLUMNS)), key=look):
            line.append("".join(character.data for character in group), style(foreground, bold))
        line.rstrip()
        console.print(line, soft_wrap=True)
    console.save_svg(str(file), title="s3migrate demo", theme=MONOKAI, unique_id=file.stem)


def is_in_the_middle(screen: pyte.Screen) -> bool:
    """Returns whether the second run's bars are on the screen, about half full."""
    text = "\n".join(screen.display)
    bars = [line for line in screen.display if line.strip().startswith("objects") and "/" in line]
    if "3. the same command again" not in text or not bars:
        return False
    done, _, rest = bars[-1].split()[-1].partition("/")
    try:
        return int(done.replace(",", "")) >= PICTURED * int(rest.split(",")[0] + "".join(rest.split(",")[1:]))
    except ValueError:
        return False


def main() -> int:
    program, directory = sys.argv[1], Path(sys.argv[2])
    child, terminal = start(program)
    screen = pyte.Screen(COLUMNS, LINES)
    stream = pyte.ByteStream(screen)
    has_bars, until = False, time.monotonic() + 120
    while time.monotonic() < until:
        ready, _, _ = select.select([terminal], [], [], 1)
        if not ready:
            continue
        try:
            data = os.read(terminal, 65536)
        except OSError:
            break
        if not data:
            break
        stream.feed(data)
        if not has_bars and is_in_the_middle(screen):
            picture(screen, directory / "demo-progress.svg")
            has_bars = True
    code = child.wait()
    picture(screen, directory / "demo.svg")
    if not has_bars:
        print("picture: the bars were never on the screen", file=sys.stderr)
    return code or (0 if has_bars else 1)


if __name__ == "__main__":
    sys.exit(main())
