"""Every known attack on a hardware proof, run against our verifier and against one without the
defence in question.

`python -m bench.attacks [--json out.json]` prints a line for each attack, and ends with status 1
when one ends otherwise than docs/attacks.md says: when it succeeds though it is claimed to be
stopped, or fails even without the defence, so that the defence is not what stops it.
Needs NumPy only.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.adversaries import answers, claims, clocks, inputs, memory, products, skipping
from bench.adversaries.outcome import Claim, Outcome

ATTACKS: tuple[Callable[[], Outcome], ...] = (
    *inputs.ATTACKS,
    *skipping.ATTACKS,
    *products.ATTACKS,
    *memory.ATTACKS,
    *clocks.ATTACKS,
    *claims.ATTACKS,
    *answers.ATTACKS,
)

VERDICTS = {Claim.STOPPED: "stopped", Claim.BOUNDED: "bounded", Claim.PRICED: "priced"}


@dataclass(frozen=True, slots=True)
class Run:
    """An outcome and how long it took."""

    outcome: Outcome
    seconds: float

    @property
    def verdict(self) -> str:
        """One word."""
        return VERDICTS[self.outcome.claim] if self.outcome.as_claimed else "NOT AS CLAIMED"


def run_all() -> list[Run]:
    """Run every attack."""
    runs = []
    for attack in ATTACKS:
        started = time.perf_counter()
        outcome = attack()
        runs.append(Run(outcome, time.perf_counter() - started))
    return runs


def format_table(runs: list[Run]) -> str:
    """A line for each, in columns."""
    lines = [("attack", "survey", "without", "with", "verdict", "s", "measured")]
    for run in runs:
        outcome = run.outcome
        lines.append(
            (
                outcome.name,
                str(outcome.known_as or ""),
                "succeeds" if outcome.succeeds_without else "fails",
                "succeeds" if outcome.succeeds_with else "fails",
                run.verdict,
                f"{run.seconds:.2f}",
                outcome.figure,
            )
        )
    widths = [max(len(line[column]) for line in lines) for column in range(6)]
    return "\n".join(
        "  ".join(
            [*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[6]]
        )
        for line in lines
    )


def describe(run: Run) -> dict[str, object]:
    """An outcome for JSON."""
    return {**asdict(run.outcome), "verdict": run.verdict, "seconds": round(run.seconds, 3)}


def main() -> int:
    """Run from the command line; 1 when an attack does not end as claimed."""
    parser = argparse.ArgumentParser(description="Run every known attack on the proof.")
    parser.add_argument("--json", type=Path, help="write the outcomes here as well")
    arguments = parser.parse_args()
    runs = run_all()
    print(format_table(runs))
    failed = [run.outcome.name for run in runs if not run.outcome.as_claimed]
    if arguments.json:
        found = {"attacks": [describe(run) for run in runs], "not_as_claimed": failed}
        arguments.json.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    if failed:
        print(f"not as claimed: {', '.join(failed)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
