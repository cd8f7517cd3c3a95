"""Progress of what takes a while, on standard error: one line that changes on a terminal, and now
and then a line of its own anywhere else."""

import sys
import time
from collections.abc import Callable
from typing import IO, Final

TERMINAL_SECONDS: Final = 0.1
"""Between two changes of the line on a terminal."""

PLAIN_SECONDS: Final = 5.0
"""Between two lines where lines stay."""

_ERASE: Final = "\r\x1b[K"


class Progress:
    """Tells people how far something is. `update` may be called as often as one likes."""

    def __init__(
        self, stream: IO[str] | None = None, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = stream or sys.stderr
        self._now = now
        self._is_terminal = self._stream.isatty()
        self._pause = TERMINAL_SECONDS if self._is_terminal else PLAIN_SECONDS
        self._shown = ""
        self._next = now()

    def say(self, text: str) -> None:
        """Print a line that stays."""
        self.clear()
        print(text, file=self._stream, flush=True)

    def update(self, text: str) -> None:
        """Show a state that the next one takes the place of."""
        moment = self._now()
        if moment < self._next or text == self._shown:
            return
        self._next = moment + self._pause
        if self._is_terminal:
            print(f"{_ERASE}{text}", end="", file=self._stream, flush=True)
        else:
            print(text, file=self._stream, flush=True)
        self._shown = text

    def clear(self) -> None:
        """Take the changing line away."""
        if self._shown and self._is_terminal:
            print(_ERASE, end="", file=self._stream, flush=True)
        self._shown = ""


def format_bytes(count: int) -> str:
    """Write a number of bytes as people do: 1500000 → "1.5 MB"."""
    if count < 1000:
        return f"{count} B"
    value = float(count)
    for unit in ("kB", "MB", "GB", "TB"):
        value /= 1000
        if value < 1000 or unit == "TB":
            return f"{value:,.1f} {unit}"
    raise AssertionError("the last unit takes everything")


def format_duration(seconds: int) -> str:
    """Write a duration in its two largest units: 5400 → "1 h 30 min"."""
    if seconds < 60:
        return f"{seconds} s"
    for size, unit, smaller, small in (
        (86_400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if seconds >= size:
            whole, rest = divmod(seconds, size)
            part = rest // smaller
            return f"{whole} {unit}" + (f" {part} {small}" if part else "")
    raise AssertionError("a minute or more")
