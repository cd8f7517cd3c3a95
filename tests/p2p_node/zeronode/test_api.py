"""Every route of the API: described, answered as described, and refused as it should be."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from sqlalchemy import Connection

from p2p_node.zeronode.client import ServiceRefusal, ZeroNodeClient, wallet_of_secret
from p2p_node.zeronode.homes import hear_opening
from p2p_node.zeronode.ledger import Line, Transfer, Unit, post, user_account
from p2p_node.zeronode.openapi import describe_api
from p2p_node.zeronode.schemas import check
from p2p_node.zeronode.service import make_routes
from p2p_node.zeronode.site import EXTENSION_ORIGIN
from protocols.ledger_json import parse_proof
from protocols.ledger_records import (
    BalanceProof,
    EntryProof,
    verify_balance_proof,
    verify_entry_proof,
)
from protocols.sign_in import SignIn, build_sign_in, hash_personal_message, parse_time
from protocols.signing import sign_digest
from protocols.types import Digest, NodeKey, TimeMs, Wallet
from protocols.uptime_messages import Opening
from protocols.zeronode_beats import sign_consent, sign_token_request
from protocols.zeronode_rules import TICKET_UNITS, UNITS_PER_POINT
from tests.p2p_node.zeronode.serving import RULES, Serving, make_key, make_wallet, serve
from tests.p2p_node.zeronode.test_api_draws import DRAW, open_one

pytestmark = pytest.mark.integration

ROUTES = make_routes()
QUICK_DAYS = replace(RULES, day_ms=4_000, close_delay_ms=100)


class CheckingClient(ZeroNodeClient):
    """Holds every answer against the description of its route."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.seen: set[tuple[str, str]] = set()

    async def request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        answer = await super().request(method, path, body, headers)
        route, _ = ROUTES.find(method, path.partition("?")[0])
        check(route.answer, answer, f"{method} {path}")
        self.seen.add((route.method, route.path))
        return answer


class Owner:
    """A chain on which one wallet owns every token."""

    def __init__(self, wallet: Wallet) -> None:
        self._wallet = wallet

    async def owner_of(self, token: int, block: object = "finalized") -> Wallet:
        return self._wallet


@asynccontextmanager
async def checking(service: Serving, key: int, wallet: int) -> AsyncIterator[CheckingClient]:
    async with CheckingClient.open(service.url, make_key(key)) as client:
        await client.sign_in(make_wallet(wallet))
        yield client


def give_points(connection: Connection, wallet: Wallet, units: int) -> None:
    account = user_account(wallet)
    lines = (Line("issue:mission", Unit.POINTS, -units), Line(account, Unit.POINTS, units))
    post(connection, Transfer(f"gift:{units}", "mission", lines), 1)


async def test_every_route_answers_as_it_is_described(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "campaigns.toml").write_text(CAMPAIGNS)
    (tmp_path / "a" / "missions.toml").write_text(MISSIONS)
    async with (
        serve(tmp_path / "a", rules=QUICK_DAYS) as service,
        serve(tmp_path / "b", rules=QUICK_DAYS, node=98) as other,
        checking(service, 1, 1) as client,
        CheckingClient.open(other.url, make_key(1)) as guest,
    ):
        wallet = wallet_of_secret(make_wallet(1))
        service.service.chain = Owner(wallet)  # type: ignore[assignment]
        both = frozenset((service.service.identity.service, other.service.identity.service))
        service.service.listed = other.service.listed = lambda: both
        await service.service.database.run(give_points, wallet, 5 * TICKET_UNITS)
        await open_one(service)

        await client.request("GET", "/openapi.json")
        await client.request("GET", f"/v1/keys/{client.key.hex()}")
        await client.request("GET", "/v1/services")
        await client.request("GET", "/v1/missions")
        await client.request("GET", "/v1/campaigns")
        await client.request("GET", "/v1/draws")
        await client.account()
        missions = (await client.call("GET", "/v1/missions"))["missions"]
        assert all(mission["own"] is not None for mission in missions)
        campaigns = (await client.call("GET", "/v1/campaigns"))["campaigns"]
        assert campaigns[0]["tasks"][0]["is_claimed"] is False
        word = {"code": "word"}
        claim = await client.call("POST", "/v1/account/campaigns/spring/say-it", word)
        assert claim["tickets"] == 2

        assert (await client.call("POST", "/v1/account/check-in"))["days"] == 1
        burn = {"tickets": 2, "request": "burn-0001"}
        burned = await client.call("POST", "/v1/account/burn", burn)
        assert (burned["tickets"], burned["tickets_left"]) == (2, 4)
        assert await client.call("POST", "/v1/account/burn", burn) == burned
        entered = await client.call(
            "POST", f"/v1/draws/{DRAW}/entries", {"tickets": 1, "request": "enter-001"}
        )
        assert entered["tickets_left"] == 3
        await client.call("GET", f"/v1/draws/{DRAW}")

        async with checking(service, 2, 2) as friend:
            code = (await friend.account())["referral"]["code"]
            await client.call("POST", "/v1/account/referral", {"code": code})
            await friend.call("DELETE", f"/v1/account/keys/{friend.key.hex()}")
        await client.call("PUT", "/v1/account/location", {"lat_tenths": 525, "lon_tenths": 134})
        assert (await client.account())["location"]["coarse"] == [525, 134]
        await client.call("DELETE", "/v1/account/location")
        await client.call("PUT", "/v1/account/nft", {"token": str(2**200)})
        account = await client.account()
        assert (account["multiplier"], account["nft"]["token"]) == (2, str(2**200))
        await client.call("DELETE", "/v1/account/nft")
        paid = await client.call("POST", "/v1/account/missions/say-it", {"code": "word"})
        assert paid["units"] == 10 * UNITS_PER_POINT

        await check_proofs(client, await wait_for_day(client))
        departure = await depart(client, other.service.identity.service)
        assert (await client.account())["home"] is False
        with pytest.raises(ServiceRefusal, match="at home elsewhere"):
            await client.call("POST", "/v1/account/check-in")
        # What the services of a network gossip.
        own, far = other.service.identity.service, service.service.identity.service
        now = other.service.now()
        opening = Opening(wallet, TimeMs(now - 10_000))
        await other.service.database.run(hear_opening, far, opening, own, now)
        await guest.sign_in(make_wallet(1))
        await guest.call("POST", "/v1/arrivals", {"departure": departure["departure"]})
        seen = client.seen | friend.seen | guest.seen
        # Its file has a test of its own.
        seen.add(("GET", "/v1/draws/{id}/transcript"))
        assert {(each.method, each.path) for each in ROUTES.all} - seen == set()


CAMPAIGNS = """
[spring]
title = "Spring"
opens = 2020-01-01T00:00:00Z
closes = 2100-01-01T00:00:00Z
tickets = 10
[spring.tasks.say-it]
title = "Say the word"
tickets = 2
code_sha256 = "98c1eb4ee93476743763878fcb96a25fbc9a175074d64004779ecb5242f645e6"
"""

MISSIONS = """
[say-it]
period = "once"
title = "Say the word"
points = 10
code_sha256 = "98c1eb4ee93476743763878fcb96a25fbc9a175074d64004779ecb5242f645e6"
"""


async def wait_for_day(client: CheckingClient) -> int:
    with trio.fail_after(30):
        while True:
            found = await client.call("GET", "/v1/account/ledger?limit=100")
            if found["proofs"] and all(found["proofs"]):
                day: int = found["proofs"][-1]["summary"]["day"]
                return day
            await trio.sleep(0.2)


async def depart(client: CheckingClient, goal: NodeKey) -> Any:
    """Leave, as soon as no day that just ended is to be booked."""
    with trio.fail_after(10):
        while True:
            try:
                return await client.call("POST", "/v1/account/departure", {"to": goal.hex()})
            except ServiceRefusal as refusal:
                assert refusal.reason == "an earlier day is not booked yet"  # noqa: PT017
                await trio.sleep(0.1)


async def check_proofs(client: CheckingClient, day: int) -> None:
    shown = await client.request("GET", f"/v1/days/{day}")
    root = Digest(bytes.fromhex(shown["root"]))
    found = await client.call("GET", "/v1/account/ledger?after=0&limit=2")
    assert len(found["entries"]) == 2
    newest = await client.call("GET", "/v1/account/ledger?newest=2")
    assert newest["entries"][0]["number"] > newest["entries"][1]["number"]
    proof = parse_proof(newest["proofs"][0])
    assert isinstance(proof, EntryProof)
    own = await client.request("GET", f"/v1/days/{proof.summary.day}")
    verify_entry_proof(proof, Digest(bytes.fromhex(own["root"])))
    balances = await client.call("GET", f"/v1/account/proof?day={day}")
    points = parse_proof(balances["points"])
    assert isinstance(points, BalanceProof)
    verify_balance_proof(points, root)
    assert (await client.call("GET", "/v1/account/proof"))["day"] >= day
    for path in ("/v1/days/1", "/v1/account/proof?day=1"):
        with pytest.raises(ServiceRefusal, match="day is not closed") as caught:
            await client.call("GET", path)
        assert caught.value.status == 404


def test_description_has_every_route() -> None:
    described = describe_api(ROUTES.all, "1")
    for route in ROUTES.all:
        one = described["paths"][route.path][route.method.lower()]
        assert one["summary"]
        assert ("requestBody" in one) == (route.body is not None)
        names = {each["name"] for each in one.get("parameters", ())}
        assert names == {*route.parameters, *route.query}
        assert {f"{{{name}}}" for name in route.parameters} == {
            part for part in route.path.split("/") if part.startswith("{")
        }
        assert ("401" in one["responses"]) == route.is_private
    identifiers = [
        one["operationId"] for methods in described["paths"].values() for one in methods.values()
    ]
    assert len(set(identifiers)) == len(identifiers) == len(ROUTES.all) + 1


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "reason"),
    [
        ("GET", "/v1/nothing", None, 404, "no such path"),
        ("PUT", "/v1/service", None, 405, "method not allowed"),
        ("GET", "/v1/service?x=1", None, 400, "malformed query"),
        ("GET", "/v1/days/one", None, 400, "malformed request"),
        ("GET", "/v1/days/99999999999999999", None, 400, "malformed request"),
        ("GET", "/v1/keys/" + "G" * 64, None, 400, "malformed request"),
        ("GET", "/v1/account", None, 401, "no token"),
        ("POST", "/v1/tokens", b"", 415, "body is not JSON"),
        ("POST", "/v1/tokens", b"{", 400, "body is not JSON"),
        ("POST", "/v1/tokens", b"[" * 30_000, 400, "body is not JSON"),
        ("POST", "/v1/tokens", b"[]", 400, "malformed request"),
        ("POST", "/v1/tokens", b"{}", 400, "malformed request"),
        ("POST", "/v1/tokens", b'{"key":1,"key":2}', 400, "body is not JSON"),
        ("POST", "/v1/tokens", b'{"key":1.5}', 400, "body is not JSON"),
        ("POST", "/v1/tokens", b'{"key":NaN}', 400, "body is not JSON"),
        ("POST", "/v1/tokens", b'{"key":"\xff"}', 400, "body is not JSON"),
        ("POST", "/v1/tokens/nonce", b"{}", 400, "malformed request"),
        (
            "POST",
            "/v1/sign-in",
            b'{"message":"\\ud800","signature":"0x"}',
            400,
            "malformed request",
        ),
    ],
)
async def test_what_does_not_fit_the_description_is_refused(
    service: Serving, method: str, path: str, body: bytes | None, status: int, reason: str
) -> None:
    headers = {"Content-Type": "application/json"} if body else {}
    async with httpx.AsyncClient() as http:
        response = await http.request(method, service.url + path, content=body, headers=headers)
        assert (response.status_code, response.json()["error"]) == (status, reason)
        assert service.running.web.refused == {reason: 1}
        assert response.headers["x-content-type-options"] == "nosniff"
        assert (await http.get(service.url + "/v1/service")).status_code == 200


async def test_tokens_are_void_after_a_restart_and_asked_for_anew(tmp_path: Path) -> None:
    async with serve(tmp_path) as service, service.client(1, 1) as client:
        token = await client.get_token()
        await client.account()
    async with serve(tmp_path) as service, service.client(1) as client:
        client._token = token
        with pytest.raises(ServiceRefusal, match="unknown token") as caught:
            await client._call("GET", "/v1/account", None)
        assert caught.value.status == 401
        await client.account()
        for text in ("x", "=" * 72, "A" * 72, "ä"):
            headers = {"Authorization": f"Bearer {text}".encode("latin-1").decode("latin-1")}
            async with httpx.AsyncClient() as http:
                url = service.url + "/v1/account"
                raw = [(b"Authorization", headers["Authorization"].encode("latin-1"))]
                assert (await http.get(url, headers=raw)).status_code == 401


async def make_sign_in(client: ZeroNodeClient, **change: Any) -> dict[str, Any]:
    given = await client.request("POST", "/v1/sign-in/nonce")
    fields = {
        "domain": given["domain"],
        "wallet": wallet_of_secret(make_wallet(1)),
        "uri": given["uri"],
        "chain_id": given["chain_id"],
        "nonce": given["nonce"],
        "issued_ms": parse_time(given["issued_at"]),
        "expires_ms": parse_time(given["expires_at"]),
        "key": client.key,
    }
    text = build_sign_in(SignIn(**{**fields, **change}))
    signature = sign_digest(make_wallet(1), hash_personal_message(text))
    return {
        "message": text,
        "signature": "0x" + signature.hex(),
        "consent": await client.consent(),
    }


@pytest.mark.parametrize(
    ("change", "status", "reason"),
    [
        ({"domain": "evil.example"}, 403, "sign-in message is for another service"),
        ({"chain_id": 1}, 403, "sign-in message is for another service"),
        ({"nonce": "0" * 64}, 400, "unknown nonce"),
        ({"nonce": "Z" * 64}, 400, "unknown nonce"),
        ({"wallet": Wallet(bytes(20))}, 403, "sign-in message is signed by another wallet"),
        ({"issued_ms": 0, "expires_ms": 1}, 403, "sign-in message has expired"),
    ],
)
async def test_sign_in_that_is_not_meant_here_is_refused(
    service: Serving, change: dict[str, Any], status: int, reason: str
) -> None:
    async with service.client(1) as client:
        body = await make_sign_in(client, **change)
        with pytest.raises(ServiceRefusal) as caught:
            await client.request("POST", "/v1/sign-in", body)
        assert (caught.value.status, caught.value.reason) == (status, reason)
        assert await client.request("GET", f"/v1/keys/{client.key.hex()}") == {"bound": False}


async def test_wallet_alone_binds_no_key(service: Serving) -> None:
    """Whoever only knows a key, from a ledger or as its earlier service, cannot take it."""
    async with service.client(1) as owner, service.client(2) as thief:
        body = await make_sign_in(owner)
        nonce, foreign = body["consent"]["nonce"], await thief.consent()
        # The same statement at another service, which its operator might keep.
        facts = await owner.facts()
        elsewhere = sign_consent(
            owner.signing_key, facts.network, thief.key, bytes.fromhex(nonce)
        ).hex()
        token_nonce = (await owner.request("POST", "/v1/tokens/nonce"))["nonce"]
        token = sign_token_request(
            owner.signing_key, facts.network, facts.service, bytes.fromhex(nonce)
        ).hex()
        wrong_purpose = sign_consent(
            owner.signing_key, facts.network, facts.service, bytes.fromhex(token_nonce)
        ).hex()
        for consent, status, reason in (
            (foreign, 403, "bad node signature"),
            ({"nonce": nonce, "sig": foreign["sig"]}, 403, "bad node signature"),
            ({"nonce": nonce, "sig": elsewhere}, 403, "bad node signature"),
            ({"nonce": nonce, "sig": token}, 403, "bad node signature"),
            ({"nonce": token_nonce, "sig": wrong_purpose}, 400, "unknown nonce"),
            ({"nonce": nonce}, 400, "malformed request"),
        ):
            with pytest.raises(ServiceRefusal) as caught:
                await owner.request("POST", "/v1/sign-in", {**body, "consent": consent})
            assert (caught.value.status, caught.value.reason) == (status, reason)
        del body["consent"]
        with pytest.raises(ServiceRefusal, match="malformed request"):
            await owner.request("POST", "/v1/sign-in", body)
        assert await owner.request("GET", f"/v1/keys/{owner.key.hex()}") == {"bound": False}
        # None of this spent the owner's nonce.
        await owner.request("POST", "/v1/sign-in", {**body, "consent": await owner.consent()})


async def test_sign_in_serves_once(service: Serving) -> None:
    async with service.client(1) as client:
        body = await make_sign_in(client)
        await client.request("POST", "/v1/sign-in", body)
        with pytest.raises(ServiceRefusal, match="spent nonce") as caught:
            await client.request("POST", "/v1/sign-in", body)
        assert caught.value.status == 409


async def test_nonce_of_one_purpose_serves_no_other(service: Serving) -> None:
    async with service.client(1) as client:
        nonce = (await client.request("POST", "/v1/tokens/nonce"))["nonce"]
        with pytest.raises(ServiceRefusal, match="unknown nonce"):
            await client.request("POST", "/v1/sign-in", await make_sign_in(client, nonce=nonce))


async def test_key_of_another_account_is_refused(service: Serving) -> None:
    async with service.client(1, 1) as client:
        with pytest.raises(ServiceRefusal, match="another account") as caught:
            await client.sign_in(make_wallet(2))
        assert caught.value.status == 409


async def test_referral_that_is_wrong_does_not_keep_anybody_out(service: Serving) -> None:
    async with service.client(1) as client:
        await client.sign_in(make_wallet(1), referral="nonsense")
        assert (await client.account())["referral"]["referred"] is False
        code = (await client.account())["referral"]["code"]
    async with service.client(2) as client:
        await client.sign_in(make_wallet(2), referral=code)
        assert (await client.account())["referral"]["referred"] is True


async def test_browsers_are_told_who_may_use_the_service(service: Serving) -> None:
    async with httpx.AsyncClient(base_url=service.url) as http:
        for origin in (EXTENSION_ORIGIN, service.url):
            asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
            response = await http.options("/v1/account/check-in", headers=asked)
            assert response.status_code == 204
            assert response.headers["access-control-allow-origin"] == origin
            assert response.headers["access-control-allow-methods"] == "POST"
            for path, status in (("/v1/service", 200), ("/v1/account", 401), ("/v1/no", 404)):
                response = await http.get(path, headers={"Origin": origin})
                assert response.status_code == status
                assert response.headers["access-control-allow-origin"] == origin
                assert response.headers["vary"] == "Origin"
        evil = {"Origin": "https://evil.example"}
        assert (await http.options("/v1/service", headers=evil)).status_code == 403
        response = await http.get("/v1/service", headers=evil)
        assert "access-control-allow-origin" not in response.headers
        response = await http.post("/v1/tokens/nonce", headers=evil)
        assert (response.status_code, response.json()["error"]) == (403, "unknown origin")


async def test_pages_are_served_with_a_strict_policy(service: Serving) -> None:
    async with httpx.AsyncClient(base_url=service.url) as http:
        for path, kind in (("/sign-in", "text/html"), ("/pages/sign-in.js", "text/javascript")):
            response = await http.get(path)
            assert response.status_code == 200
            assert response.headers["content-type"].startswith(kind)
            policy = response.headers["content-security-policy"]
            assert "script-src 'self'" in policy
            assert "unsafe" not in policy
        assert (await http.post("/sign-in")).status_code == 405
        for path in ("/pages/../service.py", "/pages/%2e%2e/service.py", "/pages/", "/pages/x"):
            assert (await http.get(path)).status_code == 404


async def test_too_many_requests_are_told_when_to_come_again(tmp_path: Path) -> None:
    limits = replace(RULES.limits, requests_per_minute=5)
    async with (
        serve(tmp_path, rules=replace(RULES, limits=limits)) as service,
        httpx.AsyncClient(base_url=service.url) as http,
    ):
        statuses = [(await http.get("/v1/service")).status_code for _ in range(6)]
        assert statuses == [200] * 5 + [429]
        response = await http.get("/v1/service")
        assert 0 < int(response.headers["retry-after"]) <= 60
