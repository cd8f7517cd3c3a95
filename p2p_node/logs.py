"""How log records leave the process: lines for people, or one JSON object each for programs."""

import json
import logging
import sys
import time
from typing import IO, Final

LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}

_OTHERS_LEVEL: Final = logging.WARNING
"""Libraries report their daily business at INFO, and some of them per message."""

_OURS: Final = ("p2p_node", "chain", "protocols")


class JsonFormatter(logging.Formatter):
    """One object per line: time (UTC), level, logger, message, and the traceback of an error."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON text without line breaks."""
        entry = {
            "time": _utc(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """Time, level, logger, message; what a peer may have put into a message stays on its line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line, with a traceback below it if there is one."""
        message = "".join(c if c.isprintable() else "�" for c in record.getMessage())
        line = f"{_utc(record.created)} {record.levelname.lower():7} {record.name}: {message}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def configure_logging(level: str, form: str, stream: IO[str] | None = None) -> None:
    """Send all records to `stream` (standard error by default).

    `level` is one of LEVELS and holds for this project; other packages are heard from WARNING on.
    `form` is "text" or "json".
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    logging.basicConfig(handlers=[handler], level=_OTHERS_LEVEL, force=True)
    for name in _OURS:
        logging.getLogger(name).setLevel(LEVELS[level])


def _utc(seconds: float) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds % 1 * 1000):03}Z"
