"""Writes the vectors of codec, messages, gossip, committees, reports and scores.

`python -m tests.vectors.generate` writes every file anew; a test says when one is stale. All of it
follows from names and constants, so that two runs give the same bytes. The vectors of the compute
proof have a generator of their own (`tests.protocols.compute_vectors`).
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.vectors.builders import (
    audits,
    bans,
    codec,
    committee,
    draws,
    envelopes,
    epochs,
    gossip,
    leases,
    ledger,
    messages,
    reports,
    rewards,
    scoring,
    signing,
)

ROOT = Path(__file__).parent

FILES: dict[str, Callable[[], Any]] = {
    **codec.FILES,
    **messages.FILES,
    **envelopes.FILES,
    **signing.FILES,
    **committee.FILES,
    **epochs.FILES,
    **reports.FILES,
    **bans.FILES,
    **audits.FILES,
    **rewards.FILES,
    **scoring.FILES,
    **leases.FILES,
    **ledger.FILES,
    **draws.FILES,
    **gossip.FILES,
}
"""Path below tests/vectors → what makes its content."""


def load(name: str) -> Any:
    """Read a committed file."""
    return json.loads((ROOT / name).read_text())


def render(name: str) -> str:
    """Make the text of a file."""
    return json.dumps(FILES[name](), indent=1, ensure_ascii=False) + "\n"


def list_committed() -> set[str]:
    """Names of the files in the directories that this script owns."""
    owned = {name.split("/")[0] for name in FILES}
    return {
        path.relative_to(ROOT).as_posix()
        for directory in owned
        for path in (ROOT / directory).rglob("*.json")
    }


def main() -> None:
    """Write all files and remove those that nothing makes any more."""
    for name in sorted(list_committed() - set(FILES)):
        (ROOT / name).unlink()
    for name in FILES:
        path = ROOT / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(render(name), encoding="utf-8")


if __name__ == "__main__":
    main()
