"""Simulated extensions: real clients of a real service, each with a wallet and an address."""

import secrets
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final

import trio
from nacl.signing import SigningKey

from p2p_node.testnet.zeronode_outcome import Extension, ExtensionKind
from p2p_node.zeronode.client import ClientSession, ServiceRefusal, ZeroNodeClient, wallet_of_secret
from p2p_node.zeronode.web_socket import SocketClosed
from protocols.errors import LocalError
from protocols.zeronode_frames import Challenge, Credit

KINDS: Final = (
    ExtensionKind.PLAIN,
    ExtensionKind.HOLDER,
    ExtensionKind.INVITED,
    ExtensionKind.COPIED,
    ExtensionKind.LATE,
)
"""In the order in which a run has them; all further ones are plain."""

RECONNECT_SECONDS: Final = 1.0
MAX_PAUSE: Final = 10.0
"""Before another session, whatever the service asks for: days are short here."""

LATE_SECONDS: Final = 0.5
"""By which an extension that answers too late is too late."""

LINK_SECONDS: Final = 60.0
"""For a minted token to be in a final block."""


def make_extensions(count: int) -> list[Extension]:
    """Make up wallets for so many extensions."""
    extensions = []
    for number in range(count):
        kind = KINDS[number] if number < len(KINDS) else ExtensionKind.PLAIN
        secret = secrets.token_bytes(32)
        extensions.append(
            Extension(f"extension-{number + 1}", kind, wallet_of_secret(secret), secret)
        )
    return extensions


class Simulation:
    """Runs extensions against the service at `url` until it is told to `stop`."""

    def __init__(
        self, extensions: Sequence[Extension], url: str, problem: Callable[[str], None]
    ) -> None:
        self._extensions = extensions
        self._url = url
        self._problem = problem
        self._stopping = trio.Event()
        self._keys = {each.name: SigningKey(secrets.token_bytes(32)) for each in extensions}

    def stop(self) -> None:
        """Let every extension end once it has heard what became of its last answer."""
        self._stopping.set()

    async def run(self) -> None:
        """Sign all in, then answer until `stop`. The first one's code is known to those invited."""
        code = ""
        async with trio.open_nursery() as nursery:
            for number, extension in enumerate(self._extensions):
                referral = code if extension.kind is ExtensionKind.INVITED else ""
                account = await self._sign_in(number, extension, referral)
                code = code or account
                nursery.start_soon(self._live, number, extension)
                if extension.kind is ExtensionKind.COPIED:
                    nursery.start_soon(self._live, number, extension)

    async def _sign_in(self, number: int, extension: Extension, referral: str) -> str:
        """Sign an extension in; return its referral code."""
        async with self._open(number, extension) as client:
            await client.sign_in(extension.secret, referral)
            if extension.token is not None:
                await _link(client, extension.token)
            account = await client.account()
            return str(account["referral"]["code"])

    def _open(
        self, number: int, extension: Extension
    ) -> AbstractAsyncContextManager[ZeroNodeClient]:
        # An address of its own: accounts on one address cannot invite each other.
        address = f"127.0.{1 + number // 250}.{1 + number % 250}"
        return ZeroNodeClient.open(self._url, self._keys[extension.name], address)

    async def _live(self, number: int, extension: Extension) -> None:
        started = trio.current_time()
        try:
            await self._hold_sessions(number, extension)
        finally:
            lived = int((trio.current_time() - started) * 1000)
            extension.lived_ms = max(extension.lived_ms, lived)

    async def _hold_sessions(self, number: int, extension: Extension) -> None:
        """Hold sessions, one after another, until it is over."""
        async with self._open(number, extension) as client:
            while not self._stopping.is_set():
                try:
                    # A new start of the extension: the copy has another one.
                    async with client.session(secrets.token_bytes(16)) as session:
                        await self._answer(session, extension)
                        return
                except ServiceRefusal as refusal:
                    extension.refused += 1
                    pause = min(MAX_PAUSE, refusal.retry_ms / 1000)
                except SocketClosed as closed:
                    self._problem(f"{extension.name}: {closed}")
                    pause = RECONNECT_SECONDS
                with trio.move_on_after(pause):
                    await self._stopping.wait()

    async def _answer(self, session: ClientSession, extension: Extension) -> None:
        is_late = extension.kind is ExtensionKind.LATE
        while True:
            frame = await session.receive()
            if isinstance(frame, Credit):
                extension.beats += 1
                extension.told_ms += frame.paid_ms
                # Never between an answer and its credit, which would be in the books untold.
                if self._stopping.is_set():
                    return
            elif isinstance(frame, Challenge):
                if is_late:
                    with trio.move_on_after(frame.answer_ms / 1000 + LATE_SECONDS):
                        await self._stopping.wait()
                        return
                await session.socket.send(session.make_beat(frame).encode())


async def _link(client: ZeroNodeClient, token: int) -> None:
    """Link a token as soon as the final chain has it."""
    with trio.move_on_after(LINK_SECONDS):
        while True:
            try:
                await client.call("PUT", "/v1/account/nft", {"token": str(token)})
            except ServiceRefusal as refusal:
                if refusal.status != 409:
                    raise
                await trio.sleep(RECONNECT_SECONDS)
            else:
                return
    raise LocalError(f"token {token} could not be linked")
