"""`running.json` in a data directory: who runs there and under which addresses, while it runs."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from protocols.types import Wallet

RUN_FILE: Final = "running.json"


class RunFile:
    """Written when a node is reachable, removed when it ends; a killed node leaves it behind."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / RUN_FILE
        self._content: dict[str, Any] = {}

    def write(self, *, role: str, peer_id: str, wallet: Wallet, addresses: Sequence[str]) -> None:
        """Write the file in one step."""
        self._content = {
            "pid": os.getpid(),
            "role": role,
            "peer_id": peer_id,
            "wallet": "0x" + wallet.hex(),
            "addresses": list(addresses),
        }
        self._replace()

    def note_url(self, url: str) -> None:
        """Add where the node's own HTTP service is reached."""
        self._content["url"] = url
        self._replace()

    def _replace(self) -> None:
        temporary = self._path.with_suffix(".new")
        temporary.write_text(json.dumps(self._content, indent=1) + "\n")
        temporary.replace(self._path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._path.unlink(missing_ok=True)


def read_run_file(data_dir: Path) -> dict[str, Any] | None:
    """Return what a running node wrote, or None when there is no such file (yet)."""
    try:
        content = json.loads((data_dir / RUN_FILE).read_text())
    except (FileNotFoundError, ValueError):
        return None
    return content if isinstance(content, dict) else None
