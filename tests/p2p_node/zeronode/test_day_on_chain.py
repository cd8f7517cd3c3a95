"""A day from uptime to a proof against the root on the chain: real books, real tokens, real EVM."""

from dataclasses import replace

import pytest
import trio

from chain.zeronode_calls import ZeroNodeCalls
from chain.zeronode_client import ZeroNodeClient
from p2p_node.zeronode.anchoring import Anchoring, find_anchored
from p2p_node.zeronode.database import AsyncDatabase, Database
from p2p_node.zeronode.day_close import Facts, close_day
from p2p_node.zeronode.day_roots import Prover
from p2p_node.zeronode.ledger import Unit, entry_by_key, user_account
from p2p_node.zeronode.nft import HolderReader, link_token
from p2p_node.zeronode.uptime_book import Receipt, record
from protocols.errors import RemoteError
from protocols.ledger_records import verify_balance_proof, verify_entry_proof
from protocols.types import NodeKey, TimeMs, Wallet
from protocols.uptime import Stretch
from protocols.zeronode_rules import MINIMAL_RULES, UNITS_PER_SECOND
from tests.chain.network import network

RULES = MINIMAL_RULES
HERE = NodeKey(b"h" * 32)


@pytest.mark.integration
async def test_a_doubled_day_is_proved_against_the_chain(database: Database) -> None:
    async with network(0, 2) as net:
        client, calls = ZeroNodeClient(net.rpc, net.deployment), ZeroNodeCalls(net.deployment)
        books, chain = AsyncDatabase(database), net.running.chain
        service = net.providers[0].manager
        holder, other = net.providers[1].manager.wallet, Wallet(b"o" * 20)
        await net.execute(net.funder, calls.add_service(service.wallet, HERE), "listing")
        await net.execute(net.funder, calls.mint(holder), "token")
        seconds = RULES.day_ms // 1000
        day = (await client.head()).timestamp // seconds + 1
        start, end = RULES.day_start(day), RULES.day_end(day)
        # All day up; the token is linked 20 s into it.
        for offset in range(5):
            chain.mine(start // 1000 + offset)
        await link_token(books, client, holder, 1, TimeMs(start + 20_000))
        receipts = [Receipt(who, Stretch(start, end)) for who in (holder, other)]
        await books.run(record, HERE, receipts, RULES, end)
        for offset in range(5):
            chain.mine(end // 1000 + offset)

        now = RULES.close_time(day)
        held = await HolderReader(books, client, RULES).read(day, now)
        assert held is not None
        facts = Facts(held, lambda *_: True, lambda *_: None)
        closing = await close_day(books, day, RULES, now, facts)
        async with trio.open_nursery() as nursery:

            async def mine() -> None:
                while True:
                    chain.mine(chain.head().timestamp + 1)
                    await trio.sleep(0.02)

            nursery.start_soon(mine)
            with trio.fail_after(30):
                assert await Anchoring(books, client, service, lambda: now).step() == 1
            nursery.cancel_scope.cancel()

        root = await client.root_of(0, day, "finalized")
        assert root == closing.day.root
        prover = Prover()
        with database.reading() as connection:
            noted = find_anchored(connection, day)
            assert noted is not None
            assert noted.root == root
            doubled = entry_by_key(connection, f"nft:0x{holder.hex()}:{day}")
            assert doubled is not None
            assert entry_by_key(connection, f"nft:0x{other.hex()}:{day}") is None
            entry = prover.prove_entry(connection, doubled.number)
            balances = [
                prover.prove_balance(connection, user_account(who), Unit.POINTS, day)
                for who in (holder, other)
            ]
        assert entry is not None
        verify_entry_proof(entry, root)
        expected = (seconds + seconds - 20) * UNITS_PER_SECOND, seconds * UNITS_PER_SECOND
        for proof, units in zip(balances, expected, strict=True):
            assert proof is not None
            verify_balance_proof(proof, root)
            assert proof.balance == units
            with pytest.raises(RemoteError):
                verify_balance_proof(replace(proof, balance=units + 1), root)
