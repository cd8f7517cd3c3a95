"""How long a wallet can pay for what its node does: an estimate, until there are receipts.

What a node has paid is kept in its data directory, so that an average outlasts restarts and
`kaisar doctor` and `kaisar status` can show it.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from chain.calls import CONTRIBUTE_GAS, SUBMIT_BASE_GAS, SUBMIT_SEAT_GAS
from chain.fees import BASE_FEE_HEADROOM, DEFAULT_MIN_TIP
from chain.records import SlotKind
from protocols.params import Preset

SPENDING_FILE: Final = "spending.json"

MAX_FILE_BYTES: Final = 4096

CLAIM_GAS: Final = 200_000
"""A claim of one epoch with a margin; claims of several cost less an epoch."""

ENOUGH_EPOCHS: Final = 72
"""A wallet that pays for fewer epochs is running dry: three days at mainnet's hour."""

TOP_UP_EPOCHS: Final = 720
"""What a warning asks for: a month at mainnet's hour."""

MIN_EPOCHS: Final = 3
"""Epochs before an average is believed: the first ones pay for the registration as well."""

MAX_EPOCHS: Final = 48
"""Beyond, older epochs count half: prices change."""


@dataclass(frozen=True, slots=True)
class Spending:
    """What a node has paid for gas, in wei, over the epochs in which it paid anything."""

    epochs: int = 0
    paid: int = 0

    def add_epoch(self, paid: int) -> "Spending":
        """Count another epoch.

        One that cost nothing does not count: it may be that the wallet could not pay.
        """
        if not paid:
            return self
        if self.epochs >= MAX_EPOCHS:
            return Spending(self.epochs // 2 + 1, self.paid // 2 + paid)
        return Spending(self.epochs + 1, self.paid + paid)

    @property
    def average(self) -> int | None:
        """Wei per epoch; None as long as too little is known."""
        return None if self.epochs < MIN_EPOCHS else self.paid // self.epochs


@dataclass(frozen=True, slots=True)
class Outlook:
    """How far a balance goes, in wei.

    `per_epoch` is what an epoch costs, by receipts if `is_measured`. `reserve` is what has to be
    there for a chain to take the largest transaction, though it then costs less.
    """

    balance: int
    per_epoch: int
    reserve: int
    is_measured: bool

    @property
    def epochs_left(self) -> int:
        """For how many epochs it will do."""
        return max(0, self.balance - self.reserve) // max(1, self.per_epoch)

    @property
    def missing(self) -> int:
        """What would make it last for TOP_UP_EPOCHS."""
        return max(0, self.reserve + TOP_UP_EPOCHS * self.per_epoch - self.balance)


def compute_outlook(
    balance: int, base_fee: int, kind: SlotKind, preset: Preset, spending: Spending
) -> Outlook:
    """Work out how far a balance goes at this base fee (wei per gas).

    Before there are receipts: a provider claims once an epoch; a checker contributes to the seed,
    claims, and sends one bundle in as many epochs as its committee has seats, since every seat is
    the first to send equally often.
    """
    bundle = SUBMIT_BASE_GAS + SUBMIT_SEAT_GAS * preset.seats
    gas, largest = CLAIM_GAS, CLAIM_GAS
    if kind is SlotKind.CHECKER:
        gas, largest = CLAIM_GAS + CONTRIBUTE_GAS + bundle // preset.seats, bundle
    average = spending.average
    return Outlook(
        balance=balance,
        per_epoch=gas * (base_fee + DEFAULT_MIN_TIP) if average is None else average,
        reserve=largest * (BASE_FEE_HEADROOM * base_fee + DEFAULT_MIN_TIP),
        is_measured=average is not None,
    )


def read_spending(data_dir: Path) -> Spending:
    """Return what was kept; nothing when there is no such file, or it makes no sense."""
    try:
        with (data_dir / SPENDING_FILE).open("rb") as file:
            content = json.loads(file.read(MAX_FILE_BYTES))
        epochs, paid = content["epochs"], content["paid"]
    except (OSError, ValueError, TypeError, KeyError):
        return Spending()
    if not all(type(each) is int and each >= 0 for each in (epochs, paid)):
        return Spending()
    return Spending(min(epochs, MAX_EPOCHS), paid)


def write_spending(data_dir: Path, spending: Spending) -> None:
    """Keep it, in one step. Raises OSError."""
    path = data_dir / SPENDING_FILE
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(asdict(spending)) + "\n")
    temporary.replace(path)
