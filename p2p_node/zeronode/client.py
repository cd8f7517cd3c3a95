"""A ZeroNode client in Python: what the extension does, for tests, benchmarks and test networks.

It signs in with a wallet's key, holds a session and uses the account. Like every client it proves
that somebody has the key and answers; nothing else.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Self

import coincurve
import httpx
from nacl.signing import SigningKey

from p2p_node.zeronode.client_socket import ClientSocket, open_socket
from protocols.errors import MalformedError, RemoteError
from protocols.sign_in import SignIn, build_sign_in, hash_personal_message, parse_time
from protocols.signing import sign_digest, wallet_of_public_key
from protocols.types import NetworkId, NodeKey, Wallet
from protocols.zeronode_beats import (
    sign_beat,
    sign_consent,
    sign_hello,
    sign_token_request,
    verify_challenge,
)
from protocols.zeronode_frames import (
    Beat,
    Bye,
    Challenge,
    Credit,
    Greet,
    Hello,
    Refuse,
    ServiceFrame,
    Welcome,
    decode_service_frame,
)

AGENT: Final = "kaisar-zeronode-python/1.0.0"
REQUEST_SECONDS: Final = 30.0


class ServiceRefusal(RemoteError):
    """The service refused; `reason` is its reason, `status` that of HTTP, or 0 of a WebSocket."""

    def __init__(self, reason: str, detail: str = "", status: int = 0, retry_ms: int = 0) -> None:
        super().__init__(reason, detail)
        self.status = status
        self.retry_ms = retry_ms


@dataclass(frozen=True, slots=True)
class ServiceFacts:
    """What a client has to know of a service: `GET /v1/service`."""

    network: NetworkId
    service: NodeKey
    chain_id: int
    answer: Mapping[str, Any] = field(repr=False)


class ZeroNodeClient:
    """One extension: a key, the service at `url` (no slash at its end), and a token when needed."""

    def __init__(
        self,
        url: str,
        key: SigningKey,
        http: httpx.AsyncClient,
        local_address: str | None = None,
    ) -> None:
        self.url = url
        self._local_address = local_address
        self.signing_key = key
        self._http = http
        self._facts: ServiceFacts | None = None
        self._token = ""

    @classmethod
    @asynccontextmanager
    async def open(
        cls, url: str, key: SigningKey, local_address: str | None = None
    ) -> AsyncIterator[Self]:
        """Open a client; connections are made when they are needed, from `local_address` if it is
        given: one machine can be many by 127.0.0.2, 127.0.0.3, …"""
        # Reading all authorities takes longer than a request, and is of no use without TLS.
        is_secure = url.startswith("https:")
        transport = httpx.AsyncHTTPTransport(local_address=local_address, verify=is_secure)
        async with httpx.AsyncClient(timeout=REQUEST_SECONDS, transport=transport) as http:
            yield cls(url, key, http, local_address)

    @property
    def key(self) -> NodeKey:
        """The extension's key."""
        return NodeKey(bytes(self.signing_key.verify_key))

    async def facts(self) -> ServiceFacts:
        """Ask the service who it is, once."""
        if self._facts is None:
            answer = await self.request("GET", "/v1/service")
            self._facts = ServiceFacts(
                network=NetworkId(bytes.fromhex(answer["network"])),
                service=NodeKey(bytes.fromhex(answer["service"])),
                chain_id=answer["chain_id"],
                answer=answer,
            )
        return self._facts

    async def request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Make one request. Raises ServiceRefusal for anything but status 200."""
        try:
            response = await self._http.request(method, self.url + path, json=body, headers=headers)
        except httpx.HTTPError as error:
            raise ServiceRefusal("no answer", f"{type(error).__name__}: {error}") from error
        try:
            answer = response.json()
        except ValueError as error:
            raise MalformedError("answer is not JSON", response.text[:100]) from error
        if not isinstance(answer, dict):
            raise MalformedError("answer is no object")
        if response.status_code != 200:
            reason, detail = str(answer.get("error", "")), str(answer.get("detail", ""))
            wait = response.headers.get("retry-after", "")
            retry_ms = int(wait[:9]) * 1000 if wait.isdecimal() else 0
            raise ServiceRefusal(reason, detail, response.status_code, retry_ms)
        return answer

    async def sign_in(self, wallet_secret: bytes, referral: str = "") -> Wallet:
        """Bind the key to the wallet of a secret key, as a wallet in a browser would."""
        given = await self.request("POST", "/v1/sign-in/nonce")
        wallet = wallet_of_secret(wallet_secret)
        text = build_sign_in(
            SignIn(
                domain=given["domain"],
                wallet=wallet,
                uri=given["uri"],
                chain_id=given["chain_id"],
                nonce=given["nonce"],
                issued_ms=parse_time(given["issued_at"]),
                expires_ms=parse_time(given["expires_at"]),
                key=self.key,
                referral=referral,
                statement=given["statement"],
            )
        )
        signature = sign_digest(wallet_secret, hash_personal_message(text))
        body = {
            "message": text,
            "signature": "0x" + signature.hex(),
            "consent": await self.consent(),
        }
        await self.request("POST", "/v1/sign-in", body)
        return wallet

    async def consent(self) -> dict[str, str]:
        """Let the service bind the key to whichever wallet signs for it."""
        facts = await self.facts()
        nonce = (await self.request("POST", "/v1/sign-in/consent"))["nonce"]
        signature = sign_consent(
            self.signing_key, facts.network, facts.service, bytes.fromhex(nonce)
        )
        return {"nonce": nonce, "sig": signature.hex()}

    async def call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Make a request with a token, getting a new one when there is none or it is void."""
        if self._token:
            try:
                return await self._call(method, path, body)
            except ServiceRefusal as refusal:
                if refusal.status != 401:
                    raise
        self._token = await self.get_token()
        return await self._call(method, path, body)

    async def _call(self, method: str, path: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
        return await self.request(method, path, body, {"Authorization": f"Bearer {self._token}"})

    async def get_token(self) -> str:
        """Get a token for the key, which must be bound."""
        facts = await self.facts()
        nonce = (await self.request("POST", "/v1/tokens/nonce"))["nonce"]
        signature = sign_token_request(
            self.signing_key, facts.network, facts.service, bytes.fromhex(nonce)
        )
        body = {"key": self.key.hex(), "nonce": nonce, "sig": signature.hex()}
        token: str = (await self.request("POST", "/v1/tokens", body))["token"]
        return token

    async def account(self) -> dict[str, Any]:
        """Return the account's standing."""
        return await self.call("GET", "/v1/account")

    @asynccontextmanager
    async def session(self, boot: bytes) -> AsyncIterator["ClientSession"]:
        """Open a session for the block. `boot` is random, 16 bytes, made anew at each start.

        Raises ServiceRefusal, and SocketClosed when the connection ends.
        """
        facts = await self.facts()
        url = "ws" + self.url.removeprefix("http") + "/v1/beats"
        async with open_socket(url, local_address=self._local_address) as socket:
            session = ClientSession(socket, self.signing_key, facts, boot)
            await session.greet()
            yield session


class ClientSession:
    """One session: `greet` once, then `answer` for each challenge, in one task."""

    def __init__(
        self, socket: ClientSocket, key: SigningKey, facts: ServiceFacts, boot: bytes
    ) -> None:
        self.socket = socket
        self.welcome: Welcome | None = None
        self._key = key
        self._facts = facts
        self._boot = boot

    async def receive(self) -> ServiceFrame:
        """Wait for a frame. Raises ServiceRefusal when it ends the session."""
        frame = decode_service_frame(await self.socket.receive())
        if isinstance(frame, Refuse | Bye):
            raise ServiceRefusal(frame.reason, retry_ms=frame.retry_ms)
        return frame

    async def greet(self) -> Welcome:
        """Say hello, and return the welcome."""
        greeting = await self.receive()
        if not isinstance(greeting, Greet) or greeting.service != self._facts.service:
            raise MalformedError("greeting of another service")
        key, facts = self._key, self._facts
        signature = sign_hello(key, facts.network, facts.service, greeting.nonce, self._boot)
        hello = Hello(
            key=NodeKey(bytes(key.verify_key)), boot=self._boot, agent=AGENT, sig=signature
        )
        await self.socket.send(hello.encode())
        welcome = await self.receive()
        if not isinstance(welcome, Welcome):
            raise MalformedError("no welcome")
        self.welcome = welcome
        return welcome

    async def wait_for_challenge(self) -> Challenge:
        """Wait for a challenge that is the service's own."""
        frame = await self.receive()
        if not isinstance(frame, Challenge):
            raise MalformedError("no challenge")
        verify_challenge(
            *(self._facts.network, self._facts.service, frame.sid, frame.seq, frame.nonce),
            *(NodeKey(bytes(self._key.verify_key)), frame.sig),
        )
        return frame

    def make_beat(self, challenge: Challenge) -> Beat:
        """Sign the answer to a challenge."""
        facts = self._facts
        signature = sign_beat(
            *(self._key, facts.network, facts.service, challenge.sid, challenge.seq),
            *(challenge.nonce, self._boot),
        )
        return Beat(sid=challenge.sid, seq=challenge.seq, sig=signature)

    async def wait_for_credit(self) -> Credit:
        """Wait for what became of a beat."""
        frame = await self.receive()
        if not isinstance(frame, Credit):
            raise MalformedError("no credit")
        return frame

    async def answer(self) -> Credit:
        """Wait for a challenge, answer it, and return what it earned."""
        beat = self.make_beat(await self.wait_for_challenge())
        await self.socket.send(beat.encode())
        return await self.wait_for_credit()


def wallet_of_secret(secret: bytes) -> Wallet:
    """Return the address of a wallet's secret key."""
    return wallet_of_public_key(coincurve.PrivateKey(secret).public_key.format(compressed=False))
