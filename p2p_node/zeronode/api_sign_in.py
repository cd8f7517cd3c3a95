"""Signing in with a wallet, and tokens for the keys that are bound to one."""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from sqlalchemy import Connection

from p2p_node.zeronode.accounts import bind_key, find_account_of_key, open_account, wallet_text
from p2p_node.zeronode.address_hashes import record_address
from p2p_node.zeronode.homes import claim_home
from p2p_node.zeronode.parts import Service, Visit
from p2p_node.zeronode.referrals import bind_referral
from p2p_node.zeronode.routes import Call, Route
from p2p_node.zeronode.schemas import (
    KEY,
    TIME,
    WALLET,
    fields,
    flag,
    hexadecimal,
    number,
    text,
    words,
)
from protocols.errors import MalformedError, RemoteError
from protocols.sign_in import (
    MAX_MESSAGE_BYTES,
    STATEMENT,
    Expected,
    SignIn,
    check_sign_in,
    check_signature,
    format_time,
    parse_sign_in,
)
from protocols.types import NodeKey, TimeMs
from protocols.zeronode_beats import verify_consent, verify_token_request

SIGN_IN: Final = "sign-in"
CONSENT: Final = "consent"
ACCESS: Final = "access"

SIGN_IN_LIFETIME_MS: Final = 600_000


def expect_sign_in(service: Service) -> Expected:
    """Return what a message must name: the page of this service, and its chain."""
    return Expected(
        domain=urlsplit(service.public_url).netloc,
        uri=f"{service.public_url}/sign-in",
        chain_id=service.identity.chain_id,
    )


async def make_sign_in_nonce(service: Service, _: Call) -> Mapping[str, Any]:
    """Give out all that a message needs besides wallet and key."""
    now = service.now()
    expected = expect_sign_in(service)
    return {
        "nonce": service.tokens.make_nonce(SIGN_IN, now).hex(),
        "domain": expected.domain,
        "uri": expected.uri,
        "chain_id": expected.chain_id,
        "statement": STATEMENT,
        "issued_at": format_time(now),
        "expires_at": format_time(TimeMs(now + SIGN_IN_LIFETIME_MS)),
    }


async def make_consent_nonce(service: Service, _: Call) -> Mapping[str, Any]:
    """Give out what a key signs to be bound to a wallet."""
    return {"nonce": service.tokens.make_nonce(CONSENT, service.now()).hex()}


async def sign_in(service: Service, call: Call) -> Mapping[str, Any]:
    """Bind a key to the wallet that signed the message, and open its account if it has none.

    Wallet and key both agree: a wallet alone could take a key that is somebody else's, and with it
    what that earns here from then on.
    """
    now = service.now()
    message = parse_sign_in(call.body["message"])
    check_sign_in(message, expect_sign_in(service), now)
    check_signature(message, call.body["message"], bytes.fromhex(call.body["signature"][2:]))
    identity = service.identity
    consent = call.body["consent"]
    agreed = bytes.fromhex(consent["nonce"])
    verify_consent(
        identity.network, identity.service, agreed, message.key, bytes.fromhex(consent["sig"])
    )
    # Not spent: whoever has to try again comes with the same consent, to the same service.
    service.tokens.check_nonce(CONSENT, agreed, now, "open the page from the extension again")
    try:
        nonce = bytes.fromhex(message.nonce)
    except ValueError as error:
        raise MalformedError("unknown nonce", "no hexadecimal") from error
    visit = service.visit(call.request.address)
    # First what is counted by address: only so many spent nonces are remembered for everybody.
    service.rates.take("sign-in", visit.address.exact, now)
    service.tokens.spend_nonce(SIGN_IN, nonce, now)
    referral = await service.database.run(_bind, service, message, visit, now)
    service.sessions.refresh_key(message.key)
    return {
        "wallet": wallet_text(message.wallet),
        "key": message.key.hex(),
        "referral": referral,
    }


def _bind(
    connection: Connection, service: Service, message: SignIn, visit: Visit, now: TimeMs
) -> str:
    open_account(connection, message.wallet, now)
    own = service.identity.service
    home = claim_home(connection, message.wallet, own, service.rules, now, service.listed())
    record_address(connection, message.wallet, visit.address, now)
    bind_key(connection, message.wallet, message.key, service.rules, now)
    if not message.referral:
        return ""
    if home.service != own:
        return "the account is at home elsewhere"
    try:
        # Nothing is written before it refuses; whoever was not invited properly still signs in.
        bind_referral(connection, message.wallet, message.referral, service.rules, now)
    except RemoteError as refusal:
        return refusal.reason
    return "bound"


async def find_key(service: Service, call: Call) -> Mapping[str, Any]:
    """Tell whether a key is bound to an account."""
    key = NodeKey(bytes.fromhex(call.parameters["key"]))
    return {"bound": await service.database.read(find_account_of_key, key) is not None}


async def make_token_nonce(service: Service, _: Call) -> Mapping[str, Any]:
    """Give out what a key signs for a token."""
    return {"nonce": service.tokens.make_nonce(ACCESS, service.now()).hex()}


async def make_token(service: Service, call: Call) -> Mapping[str, Any]:
    """Give a bound key its token."""
    now = service.now()
    key = NodeKey(bytes.fromhex(call.body["key"]))
    nonce = bytes.fromhex(call.body["nonce"])
    identity = service.identity
    verify_token_request(
        identity.network, identity.service, nonce, key, bytes.fromhex(call.body["sig"])
    )
    await service.require_wallet(key)
    # Last: keys are free, and only so many spent nonces are remembered for everybody.
    service.tokens.spend_nonce(ACCESS, nonce, now)
    token, expires = service.tokens.make_token(key, now)
    return {"token": token, "expires_ms": expires}


NONCE: Final = hexadecimal(32, "Serves once, within ten minutes.")
CONSENT_NONCE: Final = hexadecimal(32, "Serves for ten minutes, at this service.")

ROUTES: Final[Sequence[Route[Service]]] = (
    Route(
        "POST",
        "/v1/sign-in/nonce",
        "Get what a message of EIP-4361 needs besides the wallet and the key.",
        make_sign_in_nonce,
        fields(
            nonce=NONCE,
            domain=words(300),
            uri=words(300),
            chain_id=number(1),
            statement=words(200),
            issued_at=text("[0-9T:.Z-]{24}", 24),
            expires_at=text("[0-9T:.Z-]{24}", 24),
        ),
    ),
    Route(
        "POST",
        "/v1/sign-in/consent",
        "Get what an extension's key signs before it is bound to a wallet.",
        make_consent_nonce,
        fields(nonce=CONSENT_NONCE),
    ),
    Route(
        "POST",
        "/v1/sign-in",
        "Bind an extension's key to the wallet that signed the message.",
        sign_in,
        fields(
            wallet=WALLET,
            key=KEY,
            referral=words(200, "`bound`, or why the code was not taken; empty without one."),
        ),
        body=fields(
            message=words(MAX_MESSAGE_BYTES, "The text that was signed, exactly."),
            signature=text("0x[0-9a-fA-F]{130}", 132, "EIP-191, by the wallet: r ‖ s ‖ v."),
            consent=fields(nonce=CONSENT_NONCE, sig=hexadecimal(64, "Ed25519, by the key.")),
        ),
        refusals={403: "The signature, or what was signed, is not what it should be."},
    ),
    Route(
        "GET",
        "/v1/keys/{key}",
        "See whether a key is bound to an account.",
        find_key,
        fields(bound=flag()),
        parameters={"key": KEY},
    ),
    Route(
        "POST",
        "/v1/tokens/nonce",
        "Get what a key signs for a token.",
        make_token_nonce,
        fields(nonce=NONCE),
    ),
    Route(
        "POST",
        "/v1/tokens",
        "Get a token for a bound key. It is void after a restart (401): ask again then.",
        make_token,
        fields(token=words(100), expires_ms=TIME),
        body=fields(key=KEY, nonce=NONCE, sig=hexadecimal(64, "Ed25519, by the key.")),
        refusals={403: "The signature is false, or the key is bound to no account."},
    ),
)
