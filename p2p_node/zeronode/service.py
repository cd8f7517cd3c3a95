"""A whole ZeroNode service: opens its parts, serves, and does its duties until cancelled."""

import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import trio

from chain.zeronode_client import ZeroNodeClient
from p2p_node.clock import Clock
from p2p_node.zeronode import (
    api_account,
    api_draws,
    api_ledger,
    api_moving,
    api_rewards,
    api_service,
    api_sign_in,
)
from p2p_node.zeronode.address_hashes import SECRET_BYTES, take_address_key
from p2p_node.zeronode.beat_writer import BeatWriter
from p2p_node.zeronode.beats import BeatCounters, Beats
from p2p_node.zeronode.campaigns import read_campaigns, store_budgets
from p2p_node.zeronode.closing import Holders, close_days, keep_address_key, settle_referrals
from p2p_node.zeronode.database import AsyncDatabase, Database
from p2p_node.zeronode.day_roots import Prover
from p2p_node.zeronode.http_types import WebCounters
from p2p_node.zeronode.limits import Rates, SessionPlaces, make_rates
from p2p_node.zeronode.location import Locator
from p2p_node.zeronode.missions import read_missions
from p2p_node.zeronode.open_files import make_room
from p2p_node.zeronode.openapi import OPENAPI_SHAPE, describe_api
from p2p_node.zeronode.parts import Service, ServiceContracts, ServiceIdentity
from p2p_node.zeronode.routes import Call, Route, Routes
from p2p_node.zeronode.sessions import SessionBook
from p2p_node.zeronode.settings import ZeroNodeSettings
from p2p_node.zeronode.site import EXTENSION_ORIGIN, ServiceSite, read_pages
from p2p_node.zeronode.tokens import Tokens
from p2p_node.zeronode.transcript_cache import TranscriptCache
from p2p_node.zeronode.web import WebServer
from p2p_node.zeronode.web_settings import WebSettings, parse_networks
from protocols.ledger_records import compute_ledger_id
from protocols.types import Digest
from protocols.zeronode_rules import ZeroNodeRules

logger = logging.getLogger(__name__)

SECRET_OF_TOKENS: Final = 32

SESSIONS_TO_CONNECTIONS: Final = 2
"""A session is one connection, and the popup that looks on is another."""

REPORT_SECONDS: Final = 600.0

Duty = Callable[[], Awaitable[None]]


def make_routes() -> Routes[Service]:
    """Return all routes of the API, the one of their description included."""
    described = (
        *api_service.ROUTES,
        *api_sign_in.ROUTES,
        *api_account.ROUTES,
        *api_ledger.ROUTES,
        *api_moving.ROUTES,
        *api_rewards.ROUTES,
        *api_draws.ROUTES,
    )

    async def describe(service: Service, _: Call) -> dict[str, object]:
        return describe_api(every, service.version)

    summary = "This description."
    every = (*described, Route("GET", "/openapi.json", summary, describe, OPENAPI_SHAPE))
    return Routes(every)


@asynccontextmanager
async def open_service(
    settings: ZeroNodeSettings,
    identity: ServiceIdentity,
    rules: ZeroNodeRules,
    clock: Clock,
    data_dir: Path,
    *,
    chain: ZeroNodeClient | None = None,
    contracts: ServiceContracts | None = None,
    random: Callable[[int], bytes] = secrets.token_bytes,
    inline: bool = False,
) -> AsyncIterator[Service]:
    """Open a service's books and parts; nobody can reach it yet.

    Without `chain` no token can be linked, and no day waits for owners. `inline` does the
    database's work in the event loop, for tests in virtual time. Raises DatabaseError and
    LocalError, which name the setting.
    """
    ledger = compute_ledger_id(identity.network, identity.service)
    missions = read_missions(data_dir, settings.missions)
    campaigns = read_campaigns(data_dir, settings.campaigns)
    locator = Locator.open(settings.city_database, settings.asn_database)
    try:
        opened = await _open_database(settings.database, ledger, inline=inline)
        try:
            database = AsyncDatabase(opened, inline=inline)
            archive = AsyncDatabase(opened, inline=inline)
            await database.run(store_budgets, campaigns)
            address_key = await database.run(take_address_key, random(SECRET_BYTES), clock.now())
            yield Service(
                identity=identity,
                rules=rules,
                settings=settings,
                clock=clock,
                database=database,
                reading=AsyncDatabase(opened, inline=inline),
                archive=archive,
                prover=Prover(),
                transcripts=TranscriptCache(archive),
                random=random,
                tokens=Tokens(random(SECRET_OF_TOKENS), random),
                rates=Rates(make_rates(rules.limits)),
                sessions=SessionBook(SessionPlaces(rules.limits)),
                writer=BeatWriter(database, identity.service, rules, clock.now),
                locator=locator,
                missions=missions,
                campaigns=campaigns,
                address_key=address_key,
                contracts=contracts or ServiceContracts(),
                chain=chain,
                version=metadata.version("kaisar-node"),
            )
        finally:
            opened.close()
    finally:
        locator.close()


async def _open_database(url: str, ledger: Digest, *, inline: bool) -> Database:
    if inline:
        return Database.open(url, ledger)
    return await trio.to_thread.run_sync(Database.open, url, ledger)


@dataclass(frozen=True, slots=True)
class Running:
    """A service that is reached at `url`, and what it counted so far."""

    url: str
    web: WebCounters = field(repr=False)
    beats: BeatCounters = field(repr=False)


async def run_service(
    service: Service,
    *,
    holders: Holders | None = None,
    duties: Sequence[Duty] = (),
    on_listening: Callable[[Running], object] = lambda running: None,
) -> None:
    """Serve, and do all duties, until cancelled; then what was earned is written, and all closed.

    `holders` reads the owners of linked tokens when a day is over. `duties` are run beside our own.
    Raises OSError when the address cannot be listened on.
    """
    settings = service.settings
    host, port = settings.address
    limits = service.rules.limits
    beats = Beats(service)
    site = ServiceSite(service, make_routes(), {"/v1/beats": beats.talk}, read_pages())
    server = WebServer(
        WebSettings(
            host=host,
            port=port,
            trusted_proxies=parse_networks(settings.trusted_proxies),
            max_connections=make_room(SESSIONS_TO_CONNECTIONS * limits.sessions),
            max_connections_per_address=max(
                64, SESSIONS_TO_CONNECTIONS * limits.sessions_per_address
            ),
        ),
        site,
    )
    await server.open()
    shown = f"[{host}]" if ":" in host else host
    service.public_url = settings.public_url or f"http://{shown}:{server.port}"
    own = urlsplit(service.public_url)
    service.origins = frozenset(
        (*settings.origins, EXTENSION_ORIGIN, f"{own.scheme}://{own.netloc}")
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(service.writer.run)
        nursery.start_soon(settle_referrals, service)
        nursery.start_soon(close_days, service, holders)
        nursery.start_soon(keep_address_key, service)
        nursery.start_soon(_report, service, server.counters, beats.counters)
        for duty in duties:
            nursery.start_soon(duty)
        logger.info("ZeroNode service at %s", service.public_url)
        on_listening(Running(service.public_url, server.counters, beats.counters))
        await server.run()


async def _report(service: Service, web: WebCounters, beats: BeatCounters) -> None:
    """Log now and then what was counted."""
    while True:
        await trio.sleep(REPORT_SECONDS)
        logger.info(
            "sessions=%d connections=%d requests=%d challenges=%d beats=%d missed=%d paid_s=%d "
            "commits=%d refused=%s ended=%s bugs=%s",
            *(len(service.sessions), web.connections, web.requests),
            *(beats.challenges, beats.beats, beats.missed, beats.paid_ms // 1000),
            *(service.writer.commits, dict(web.refused + beats.refused), dict(beats.ended)),
            dict(web.bugs),
        )
