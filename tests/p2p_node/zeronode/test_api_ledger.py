"""An account's entries over HTTP."""

import pytest

from p2p_node.zeronode.client import ServiceRefusal
from p2p_node.zeronode.ledger import Line, Transfer, Unit, post, user_account
from protocols.types import Wallet
from tests.p2p_node.zeronode.serving import Serving, make_wallet

pytestmark = pytest.mark.integration


async def test_entries_come_by_pages_or_from_the_newest_on(service: Serving) -> None:
    async with service.client(1) as client:
        wallet = await client.sign_in(make_wallet(1))

        def book(connection: object) -> None:
            for number in range(5):
                lines = (
                    Line(user_account(Wallet(wallet)), Unit.POINTS, 1 + number),
                    Line("issue:mission", Unit.POINTS, -1 - number),
                )
                post(connection, Transfer(f"mission:test:{number}", "mission", lines), number)

        await service.service.database.run(book)

        async def numbers(query: str) -> list[int]:
            answer = await client.call("GET", f"/v1/account/ledger?{query}")
            assert len(answer["proofs"]) == len(answer["entries"])
            return [entry["number"] for entry in answer["entries"]]

        assert await numbers("limit=3") == [1, 2, 3]
        assert await numbers("after=3") == [4, 5]
        assert await numbers("newest=2") == [5, 4]
        assert await numbers("newest=100") == [5, 4, 3, 2, 1]
        for query in ("newest=0", "newest=101", "oldest=1"):
            with pytest.raises(ServiceRefusal) as refused:
                await numbers(query)
            assert refused.value.status == 400
