"""Sends one wallet's transactions: one nonce at a time, journalled, replaced, confirmed.

How a transaction goes:

    execute ── queue ── signed and journalled ── sent ── in a block ── confirmed ── final
                                  ▲               │          │
                                  └── replaced ◄──┤          └─ block taken back: the same bytes
                                      (+20 %)     │             are sent again
                                                  └─ caller gave up, or somebody else was faster:
                                                     replaced by an empty transfer

At most one nonce is outside the chain at a time, unless the caller asks for more, so an attempt
that is stuck holds up its successors but leaves no gap. Everything that was signed is in the
journal before it is sent; after a crash the journal is all it takes to go on. A nonce's entries
stay until it is final.

The manager's state changes in one task only, `run`; callers of `execute` leave a ticket.
"""

import logging
from collections import deque
from typing import Final

import trio

from chain.answers import parse_head, parse_receipt
from chain.deployment import verify_chain_id
from chain.errors import (
    ChainError,
    ExpiredError,
    FailedError,
    MalformedAnswerError,
    ObsoleteError,
    QueueFullError,
    RefusedError,
    RevertedError,
    SupersededError,
    WrongChainError,
)
from chain.fees import FeePolicy, Fees, compute_first_offer, compute_replacement
from chain.flights import (
    DYNAMIC_FEE_TYPE,
    Attempt,
    Confirmations,
    Flight,
    Look,
    Ticket,
    describe_call,
    make_void_call,
    restore_flights,
)
from chain.hexes import to_hex
from chain.journal import Journal, JournalEntry
from chain.outage import Outage
from chain.purse import Purse
from chain.records import Call, Head, Receipt
from chain.refusals import Refusal, classify_refusal
from chain.rpc import JsonRpc
from chain.signer import Signer
from protocols.errors import LocalError
from protocols.hashing import keccak256
from protocols.types import Wallet

_log = logging.getLogger(__name__)

MAX_GAS: Final = 10_000_000
"""Gas of one transaction at most. peaq takes some 14.7M (chain.md §1); a deployment of ours needs
less than 4M."""

GAS_MARGIN_PERCENT: Final = 130
"""Of an estimate, as the gas limit."""

MAX_QUEUE: Final = 64
"""Intents that wait. A node has a handful per epoch."""

MAX_FLIGHTS: Final = 64
"""Nonces that are not final yet."""

MAX_ATTEMPTS: Final = 16
"""Replacements of one nonce: the last one offers 1.2^15 = 15 times the first."""

MAX_RETRIES: Final = 3
"""How often an intent gets another nonce because a stranger had just used its own."""


class TransactionManager:
    """Executes calls from one wallet on one chain.

    `run` must be running for `execute` to get anywhere. Construct it inside `trio.run`.

    `poll_seconds` is the time between two looks at the chain while something is under way.
    `replace_after_blocks` is how many blocks an attempt is given before it is replaced.
    `max_unmined` is how many nonces may be outside the chain at a time: 1 for a node, more for
    whoever sends many transactions that do not build on one another.
    `finality_blocks` None asks the endpoint for the finalised block; a number takes blocks that
    old for final, for chains that do not know the tag.
    """

    def __init__(
        self,
        rpc: JsonRpc,
        signer: Signer,
        journal: Journal,
        *,
        chain_id: int,
        poll_seconds: float = 1.0,
        replace_after_blocks: int = 3,
        max_unmined: int = 1,
        finality_blocks: int | None = None,
        fees: FeePolicy | None = None,
    ) -> None:
        self._rpc = rpc
        self._signer = signer
        self._journal = journal
        self._chain_id = chain_id
        self._poll_seconds = poll_seconds
        self._replace_after_blocks = replace_after_blocks
        self._max_unmined = max_unmined
        self._finality_blocks = finality_blocks
        self._fees = FeePolicy() if fees is None else fees
        self._queue: deque[Ticket] = deque()
        self._flights: list[Flight] = restore_flights(journal.entries())
        self._restored = {
            flight.attempts[0].call.intent(flight.label): flight for flight in self._flights
        }
        self._seen: bytes | None = None
        self._wake = trio.Event()
        self._final_count = 0
        self._purse = Purse(signer.address)
        self._outage = Outage(_log, "transactions wait, the chain does not answer")
        self.paid = 0
        """Wei that transactions have cost which became final while this manager ran."""

    @property
    def wallet(self) -> Wallet:
        """The account whose transactions these are."""
        return self._signer.address

    async def execute(
        self,
        call: Call,
        *,
        label: str,
        deadline: float,
        confirmations: Confirmations = "finalized",
        is_obsolete: Look | None = None,
    ) -> Receipt:
        """Execute a call and return the receipt once it is confirmed as asked.

        `label` names the intent, in logs and in the journal: "claim of epoch 7" rather than
        "claim". If the same call under the same label was under way when the program stopped,
        that one's outcome is returned, and nothing is sent a second time.

        `deadline` is on Trio's clock, as in `trio.CancelScope`. A caller whose deadline passes or
        who is cancelled gives the intent up, unless a block holds it already.

        `is_obsolete` looks whether somebody else has done the same: just before the first sending,
        and with every new block as long as no block holds the transaction. If so, nothing is sent,
        or the nonce is freed by an empty transfer, instead of paying for a revert.

        Raises ExpiredError, FailedError (in a block, but reverted), SupersededError,
        ObsoleteError, RevertedError (the estimate says it would revert; nothing was sent),
        UnfundedError, RefusedError (the endpoint will not take it), or QueueFullError.
        """
        if call.gas_limit is not None and call.gas_limit > MAX_GAS:
            raise LocalError(f"{label}: gas limit {call.gas_limit}, expected at most {MAX_GAS}")
        ticket = Ticket(call, label, confirmations, is_obsolete)
        restored = self._restored.pop(call.intent(label), None)
        if restored is not None:
            self._attach(restored, ticket)
        elif len(self._queue) >= MAX_QUEUE:
            raise QueueFullError(f"{label}: {MAX_QUEUE} transactions wait already")
        else:
            self._queue.append(ticket)
        self._seen = None
        self._wake.set()
        try:
            with trio.move_on_at(deadline):
                await ticket.settled.wait()
                return ticket.result()
            raise ExpiredError(label)
        finally:
            if not ticket.settled.is_set():
                ticket.abandoned = True
                if ticket in self._queue:
                    self._queue.remove(ticket)
                self._seen = None
                self._wake.set()

    async def run(self) -> None:
        """Send and watch transactions until cancelled.

        Outages of the endpoint are waited out. Raises WrongChainError if the endpoint serves
        another chain.
        """
        verified = False
        while True:
            try:
                if not verified:
                    await verify_chain_id(self._rpc, self._chain_id)
                    verified = True
                await self._advance()
            except WrongChainError:
                raise
            except ChainError as error:
                self._seen = None
                self._outage.note(error)
            else:
                self._outage.end()
            if self._flights or self._queue:
                with trio.move_on_after(self._poll_seconds):
                    await self._wake.wait()
            else:
                await self._wake.wait()
            self._wake = trio.Event()

    async def _advance(self) -> None:
        """Look at the chain once, and do what there is to do."""
        if not self._flights and not self._queue:
            return
        head = parse_head(await self._rpc.request("eth_getBlockByNumber", "latest", False))
        if head.hash != self._seen:
            # Noted first: a caller that comes or goes meanwhile asks for another look.
            self._seen = head.hash
            await self._observe(head)
        while self._queue and self._may_start():
            await self._start(self._queue.popleft(), head)

    def _attach(self, flight: Flight, ticket: Ticket) -> None:
        """Let a caller have the outcome of what was under way at the last stop."""
        flight.ticket = ticket
        if flight not in self._flights:
            # Final already. To watch it once more reports it again and changes nothing.
            self._flights.append(flight)
            self._flights.sort(key=lambda each: each.nonce)

    def _may_start(self) -> bool:
        unmined = sum(flight.receipt is None for flight in self._flights)
        return unmined < self._max_unmined and len(self._flights) < MAX_FLIGHTS

    async def _observe(self, head: Head) -> None:
        """Find out what became of every nonce; send again what is not in a block."""
        if not self._flights:
            return
        used = await self._transaction_count("latest")
        final_number = await self._final_number(head)
        for flight in list(self._flights):
            flight.receipt = None
            receipt = await self._find_receipt(flight) if used > flight.nonce else None
            if receipt is not None:
                if flight.landed_in not in (None, receipt.block_number):
                    _log.warning(
                        "%s: block %d was taken back, and block %d holds it",
                        *(flight.label, flight.landed_in, receipt.block_number),
                    )
                flight.land(receipt)
                await self._report(flight, receipt, head, final_number)
            elif used > flight.nonce:
                await self._check_superseded(flight, final_number)
            else:
                if flight.landed_in is not None:
                    _log.warning("%s: block %d was taken back", flight.label, flight.landed_in)
                    flight.take_off(head.number)
                await self._push(flight, head)

    async def _report(
        self, flight: Flight, receipt: Receipt, head: Head, final_number: int
    ) -> None:
        """Settle a nonce that is in a block as far as its depth allows."""
        is_final = receipt.block_number <= final_number
        ticket = flight.ticket
        if ticket is not None and not ticket.settled.is_set():
            depth = head.number - receipt.block_number + 1
            wanted = ticket.confirmations
            if is_final if wanted == "finalized" else depth >= wanted:
                await self._settle(ticket, flight, receipt)
        if is_final:
            self.paid += receipt.gas_used * receipt.gas_price
            self._final_count = max(self._final_count, flight.nonce + 1)
            self._finish(flight)

    async def _settle(self, ticket: Ticket, flight: Flight, receipt: Receipt) -> None:
        attempt = flight.attempt_with(receipt.transaction_hash)
        if flight.is_void(attempt):
            ticket.fail(ExpiredError(flight.label))
        elif receipt.succeeded:
            ticket.succeed(receipt)
        else:
            reason = await self._find_revert_reason(attempt, receipt)
            ticket.fail(FailedError(flight.label, receipt.transaction_hash, reason))

    async def _check_superseded(self, flight: Flight, final_number: int) -> None:
        """The nonce is used, but by none of our attempts: believe it once that is final."""
        if await self._transaction_count(to_hex(final_number)) <= flight.nonce:
            return
        if await self._find_receipt(flight) is not None:
            return
        _log.warning("%s: nonce %d was used by a stranger", flight.label, flight.nonce)
        if flight.ticket is not None and not flight.ticket.settled.is_set():
            flight.ticket.fail(SupersededError(flight.label, flight.nonce))
        self._finish(flight)

    def _finish(self, flight: Flight) -> None:
        self._flights.remove(flight)
        self._journal.forget(flight.nonce)

    async def _push(self, flight: Flight, head: Head) -> None:
        """Send the current attempt again, or a better one in its place."""
        before = flight.current
        if flight.waits_since is None:
            flight.waits_since = head.number
        await self._look_whether_obsolete(flight)
        is_late = head.number - flight.waits_since >= self._replace_after_blocks
        must_void = flight.is_unwanted and not flight.is_void(before)
        has_room = len(flight.attempts) < MAX_ATTEMPTS
        if must_void or (has_room and (is_late or flight.underpriced)):
            fees = compute_replacement(self._fees, flight.newest.fees, head.base_fee)
            if fees is not None:
                call = make_void_call(self._signer.address) if must_void else before.call
                flight.add(self._sign(flight.nonce, flight.label, call, fees))
                flight.underpriced = False
                flight.waits_since = head.number
        if flight.sent_at != head.hash or flight.current is not before:
            await self._send(flight, head)

    async def _look_whether_obsolete(self, flight: Flight) -> None:
        ticket = flight.ticket
        if ticket is None or ticket.is_obsolete is None or flight.is_void(flight.current):
            return
        flight.is_obsolete = False
        if not await ticket.is_obsolete():
            return
        if await self._transaction_count("latest") > flight.nonce:
            # It is our own that has just come into a block: the next look will find it.
            return
        _log.info("%s: somebody else was faster, nonce %d is freed", flight.label, flight.nonce)
        flight.is_obsolete = True
        if not ticket.settled.is_set():
            ticket.fail(ObsoleteError(flight.label))

    async def _start(self, ticket: Ticket, head: Head) -> None:
        """Give a nonce to the intent that was the queue's front, and send it for the first time."""
        try:
            gas_limit = await self._choose_gas_limit(ticket)
            fees = compute_first_offer(self._fees, head.base_fee, await self._suggested_tip())
            nonce = max(self._final_count, await self._transaction_count("latest"))
            if ticket.is_obsolete is not None and await ticket.is_obsolete():
                ticket.fail(ObsoleteError(ticket.label))
                return
        except RefusedError as error:
            ticket.fail(self._purse.judge(ticket.label, error))
            return
        except ChainError:
            if not ticket.abandoned:
                self._queue.appendleft(ticket)
            raise
        if ticket.abandoned:
            return
        if self._flights:
            nonce = max(nonce, self._flights[-1].nonce + 1)
        call = Call(ticket.call.to, ticket.call.data, ticket.call.value, gas_limit)
        attempt = self._sign(nonce, ticket.label, call, fees)
        flight = Flight(
            nonce, ticket.label, [attempt], ticket, current=attempt, waits_since=head.number
        )
        self._flights.append(flight)
        await self._send(flight, head)

    def _sign(self, nonce: int, label: str, call: Call, fees: Fees) -> Attempt:
        """Sign an attempt; it is in the journal when this returns."""
        transaction: dict[str, object] = {
            "type": DYNAMIC_FEE_TYPE,
            "chainId": self._chain_id,
            "nonce": nonce,
            "maxPriorityFeePerGas": fees.tip,
            "maxFeePerGas": fees.max_fee,
            "gas": call.gas_limit,
            "value": call.value,
            "data": call.data,
        }
        if call.to is not None:
            transaction["to"] = call.to
        raw = self._signer.sign_transaction(transaction)
        attempt = Attempt(keccak256(raw), raw, call, fees)
        self._journal.record(JournalEntry(nonce, attempt.hash, raw, label))
        _log.info(
            "%s: nonce %d, 0x%s, tip %d, at most %d wei per gas",
            label,
            nonce,
            attempt.hash.hex(),
            fees.tip,
            fees.max_fee,
        )
        return attempt

    async def _send(self, flight: Flight, head: Head) -> None:
        """Send the current attempt, and understand a refusal."""
        was_accepted = flight.maybe_accepted
        # Whatever happens from here on, it may have arrived, unless a refusal says otherwise.
        flight.maybe_accepted = True
        try:
            await self._rpc.request("eth_sendRawTransaction", to_hex(flight.current.raw))
        except RefusedError as error:
            refusal = classify_refusal(error.message)
            _log.info("%s: sent, and told: %s", flight.label, error.message)
            named = self._purse.judge(flight.label, error)
            if refusal is Refusal.UNDERPRICED:
                flight.underpriced = True
            if refusal in (Refusal.KNOWN, Refusal.UNDERPRICED) or was_accepted:
                flight.sent_at = head.hash
            else:
                self._take_back(flight, named, refusal)
        else:
            flight.sent_at = head.hash

    def _take_back(self, flight: Flight, error: RefusedError, refusal: Refusal) -> None:
        """Give up a nonce whose only attempt was refused for good.

        It is the newest one, since an intent is sent right after it gets its nonce.
        """
        ticket = flight.ticket
        if ticket is None:
            raise LocalError(f"{flight.label}: a restored transaction counts as accepted")
        self._finish(flight)
        if refusal is Refusal.NONCE_USED and ticket.retries < MAX_RETRIES:
            ticket.retries += 1
            self._queue.appendleft(ticket)
        else:
            ticket.fail(error)

    async def _choose_gas_limit(self, ticket: Ticket) -> int:
        call = ticket.call
        if call.gas_limit is not None:
            return call.gas_limit
        estimate = await self._rpc.quantity(
            "eth_estimateGas", describe_call(call, self._signer.address)
        )
        if estimate > MAX_GAS:
            raise RefusedError(0, f"{ticket.label} needs {estimate} gas, more than {MAX_GAS}")
        return min(MAX_GAS, estimate * GAS_MARGIN_PERCENT // 100)

    async def _suggested_tip(self) -> int:
        try:
            return await self._rpc.quantity("eth_maxPriorityFeePerGas")
        except RefusedError:
            # Not every endpoint has the method; the policy's tip will do.
            return 0

    async def _find_receipt(self, flight: Flight) -> Receipt | None:
        for attempt in reversed(flight.attempts):
            answer = await self._rpc.request("eth_getTransactionReceipt", to_hex(attempt.hash))
            if answer is not None:
                receipt = parse_receipt(answer)
                if receipt.transaction_hash != attempt.hash:
                    raise MalformedAnswerError("a receipt of another transaction")
                return receipt
        return None

    async def _find_revert_reason(self, attempt: Attempt, receipt: Receipt) -> str | None:
        """Repeat a reverted call on the state before its block, to learn the contract's words."""
        if receipt.gas_used == attempt.call.gas_limit:
            return "out of gas"
        block = to_hex(receipt.block_number - 1)
        try:
            await self._rpc.request(
                "eth_call", describe_call(attempt.call, self._signer.address), block
            )
        except RevertedError as error:
            return error.revert_reason
        except ChainError as error:
            _log.info("no reason for the revert could be had: %s", error)
        return None

    async def _final_number(self, head: Head) -> int:
        """Return the height up to which blocks are final."""
        if self._finality_blocks is not None:
            return max(0, head.number - self._finality_blocks)
        answer = await self._rpc.request("eth_getBlockByNumber", "finalized", False)
        return parse_head(answer).number

    async def _transaction_count(self, block: str) -> int:
        return await self._rpc.quantity(
            "eth_getTransactionCount", to_hex(self._signer.address), block
        )
