"""The whole service over real sockets, used by the client in Python."""

import pytest

from p2p_node.zeronode.client import ServiceRefusal
from tests.p2p_node.zeronode.serving import Serving, make_wallet

pytestmark = pytest.mark.integration

BOOT = bytes(range(16))


async def test_first_sign_in_then_beats_then_points(service: Serving) -> None:
    async with service.client(1) as client:
        facts = await client.facts()
        assert facts.service == service.service.identity.service
        with pytest.raises(ServiceRefusal, match="key is not bound"):
            await client.account()
        wallet = await client.sign_in(make_wallet(1))
        async with client.session(BOOT) as session:
            assert session.welcome is not None
            assert (session.welcome.bound, session.welcome.earning) == (True, True)
            first = await session.answer()
            assert (first.paid_ms, first.reason, first.earning) == (0, "first beat", True)
            assert first.account is not None
            paid = [(await session.answer()).paid_ms for _ in range(5)]
            assert all(100 < each <= 5_000 for each in paid)
        account = await client.account()
        assert account["wallet"] == "0x" + wallet.hex()
        assert account["uptime_today_s"] == sum(paid) // 1000
        assert account["status"] in (
            {"earning": True, "reason": ""},
            {"earning": False, "reason": "not connected"},
        )
