"""Registering a provider's machine with peaq, beside everything else and never in its way."""

import logging
from dataclasses import dataclass
from typing import Final, Protocol

import trio

from chain.errors import ChainError
from chain.identity import IdentityKind, MachineIdentity
from p2p_node.net.counters import Counters
from protocols.errors import LocalError

logger = logging.getLogger(__name__)

ATTEMPTS: Final = 3
"""Per start of the node; what fails three times needs its operator."""

PAUSE_SECONDS: Final = 900.0
"""Between two attempts: long enough for an endpoint to come back, or a price to be set."""

TRANSACTION_SECONDS: Final = 600.0

COUNTED_AS: Final = "machine identity"


class IdentityKeeper(Protocol):
    """What `chain.identity.IdentityAdapter` offers."""

    async def ensure_did(self, *, deadline: float) -> MachineIdentity:
        """Store the DID document, unless it is there."""

    async def ensure_machine(
        self, *, tier: int, most_bond: int, deadline: float
    ) -> MachineIdentity:
        """Activate the machine, unless it is."""


@dataclass(frozen=True, slots=True)
class MachineSettings:
    """What the operator wants: `tier` by its number, at most `most_bond` wei of PEAQ for it."""

    kind: IdentityKind = IdentityKind.NONE
    tier: int = 0
    most_bond: int = 0


async def identify(keeper: IdentityKeeper, settings: MachineSettings, counters: Counters) -> None:
    """Try a few times, and say what came of it. Nothing waits for this, and no failure leaves it.

    It starts once the provider is registered with us, so that a wallet with too little for both
    pays for ours first.
    """
    if settings.kind is IdentityKind.NONE:
        return
    for attempt in range(1, ATTEMPTS + 1):
        try:
            found = await _ensure(keeper, settings)
        except (ChainError, LocalError) as error:
            reason = error.reason if isinstance(error, ChainError) else "local error"
            counters.refuse(COUNTED_AS, reason)
            logger.warning(
                "machine identity (%s), attempt %d of %d: %s; the node goes on without it",
                settings.kind,
                attempt,
                ATTEMPTS,
                error,
            )
        else:
            what = "is registered already" if found.was_there else "is now registered"
            logger.info("machine identity: %s %s", found.did, what)
            return
        if attempt < ATTEMPTS:
            await trio.sleep(PAUSE_SECONDS)


async def _ensure(keeper: IdentityKeeper, settings: MachineSettings) -> MachineIdentity:
    deadline = trio.current_time() + TRANSACTION_SECONDS
    if settings.kind is IdentityKind.DID:
        return await keeper.ensure_did(deadline=deadline)
    return await keeper.ensure_machine(
        tier=settings.tier, most_bond=settings.most_bond, deadline=deadline
    )
