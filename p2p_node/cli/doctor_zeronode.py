"""What `kaisar doctor` looks at for a ZeroNode service."""

import ipaddress
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import trio
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from chain.deployment import Deployment
from chain.errors import ChainError
from chain.zeronode_client import ZeroNodeClient
from p2p_node.chain_access import open_endpoints
from p2p_node.cli.doctor_checks import check_listen
from p2p_node.config import read_database_password
from p2p_node.keystore import open_node_key, read_wallet_address
from p2p_node.workloads.self_check import Finding, Mark
from p2p_node.zeronode.campaigns import read_campaigns
from p2p_node.zeronode.draw_schedule import read_draws
from p2p_node.zeronode.location import Locator
from p2p_node.zeronode.missions import read_missions
from p2p_node.zeronode.settings import choose_database
from protocols.errors import LocalError

CONNECT_SECONDS: Final = 5
CHAIN_SECONDS: Final = 15.0


def check_zeronode(
    settings: Mapping[str, Any], environment: Mapping[str, str], running: int | None
) -> Iterator[Finding]:
    """Can the service listen, be reached, keep its books, and read the operator's files?"""
    host, _, port = settings["zeronode_listen"].rpartition(":")
    yield from check_listen([f"/{_kind_of(host)}/{host.strip('[]')}/tcp/{port}"], running)
    yield check_public_url(settings["zeronode_public_url"])
    yield check_database(settings, environment)
    yield from check_files(settings)


def check_public_url(url: str | None) -> Finding:
    """Can browsers use it? They want HTTPS for everything but their own machine."""
    if url is None:
        return Finding(
            "public url",
            Mark.WARN,
            "none",
            "only browsers on this machine reach the service, and sign-in names its own address",
            "--zeronode-public-url https://…",
        )
    parts = urlsplit(url)
    if parts.scheme == "https" or parts.hostname in ("localhost", "127.0.0.1", "::1"):
        return Finding("public url", Mark.OK, url)
    return Finding(
        "public url",
        Mark.WARN,
        url,
        "browsers do not let an extension or a wallet use it without HTTPS",
        "put a proxy with a certificate in front of the service",
    )


def check_database(settings: Mapping[str, Any], environment: Mapping[str, str]) -> Finding:
    """Is the ledger's database there? Nothing is made or changed."""
    file: Path | None = settings["zeronode_database_password_file"]
    fix = "--zeronode-database, and its password by file or KAISAR_ZERONODE_DATABASE_PASSWORD"
    try:
        password = read_database_password(file, environment)
    except LocalError as error:
        return Finding("ledger", Mark.FAIL, str(error), "the service does not start", fix)
    url = make_url(choose_database(settings["zeronode_database"], password, settings["data_dir"]))
    name = url.render_as_string(hide_password=True)
    if url.get_backend_name() == "sqlite":
        path = Path(url.database or "")
        if not path.exists():
            return Finding("ledger", Mark.ABSENT, f"no {path}", "made at the first start")
        url = make_url(f"sqlite:///file:{path}?mode=ro&uri=true")
        options: dict[str, Any] = {}
    else:
        url = url.set(drivername="postgresql+psycopg")
        options = {"connect_timeout": CONNECT_SECONDS}
    engine = create_engine(url, connect_args=options)
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
            entries = connection.execute(text("SELECT number FROM ledger_head")).scalar()
    except SQLAlchemyError as error:
        original = getattr(error, "orig", None)
        words = str(original or error).strip().splitlines()[0]
        if "ledger_head" in words:
            return Finding("ledger", Mark.OK, f"{name}, empty")
        return Finding("ledger", Mark.FAIL, f"{name}: {words}", "the service does not start", fix)
    finally:
        engine.dispose()
    return Finding("ledger", Mark.OK, f"{name}, {entries} entries")


def check_files(settings: Mapping[str, Any]) -> Iterator[Finding]:
    """Can the operator's files be read?"""
    data_dir: Path = settings["data_dir"]
    city, network = settings["zeronode_city_database"], settings["zeronode_asn_database"]

    def read_locations() -> str:
        with closing(Locator.open(city, network)):
            return ", ".join(str(each) for each in (city, network) if each is not None)

    draws = settings["zeronode_draws"]
    campaigns = settings["zeronode_campaigns"]
    looks: Sequence[tuple[str, bool, Callable[[], object]]] = (
        ("locations", city is not None or network is not None, read_locations),
        (
            "missions",
            True,
            lambda: _names(read_missions(data_dir, settings["zeronode_missions"])),
        ),
        ("campaigns", campaigns is not None, lambda: _names(read_campaigns(data_dir, campaigns))),
        ("draws", draws is not None, lambda: ", ".join(each.name for each in read_draws(draws))),
    )
    for name, is_there, look in looks:
        if not is_there:
            yield Finding(name, Mark.ABSENT, "none", "the service does without")
            continue
        try:
            found = look()
        except LocalError as error:
            yield Finding(name, Mark.FAIL, str(error), "the service does not start", "set it right")
        else:
            yield Finding(name, Mark.OK, str(found))


async def check_listing(
    urls: Sequence[str], deployment: Deployment, data_dir: Path
) -> list[Finding]:
    """Does the chain list this service, with this wallet and this node key?"""
    wallet, key = read_wallet_address(data_dir), bytes(open_node_key(data_dir).verify_key)
    fix = f"the owner of ZeroNodeAnchor lists wallet 0x{wallet.hex()} and node key {key.hex()}"
    reason = "nobody takes its receipts, and no root is anchored"
    with (
        closing(open_endpoints(urls, deployment.chain_id)) as rpc,
        trio.move_on_after(CHAIN_SECONDS),
    ):
        try:
            services = await ZeroNodeClient(rpc, deployment).services()
        except ChainError as error:
            return [Finding("listed", Mark.FAIL, str(error), "the chain is not read", "--rpc")]
        for each in services:
            if each.wallet == wallet and each.is_active:
                if each.node_key == key:
                    return [Finding("listed", Mark.OK, f"service {each.index}")]
                other = f"service {each.index} has node key {each.node_key.hex()}"
                return [Finding("listed", Mark.FAIL, other, reason, fix)]
        return [Finding("listed", Mark.WARN, "not on the chain's list", reason, fix)]
    return [Finding("listed", Mark.FAIL, "no answer in time", "the chain is not read", "--rpc")]


def _names(found: Mapping[str, object]) -> str:
    return ", ".join(found) or "none"


def _kind_of(host: str) -> str:
    try:
        return f"ip{ipaddress.ip_address(host.strip('[]')).version}"
    except ValueError:
        return "dns"
