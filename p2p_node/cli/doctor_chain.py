"""What `kaisar doctor` looks at on the chain: every endpoint of the settings, and the wallet."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from chain.client import ChainClient
from chain.deployment import Deployment
from chain.errors import ChainError
from chain.networks import find_network
from chain.records import SlotKind
from p2p_node.chain_access import open_endpoints
from p2p_node.cli.doctor_checks import check_chain
from p2p_node.display import format_amount
from p2p_node.funds import ENOUGH_EPOCHS, Outlook, compute_outlook, read_spending
from p2p_node.keystore import checksum_address, read_wallet_address
from p2p_node.workloads.self_check import Finding, Mark
from protocols.errors import LocalError


async def check_endpoints(
    urls: Sequence[str], deployment: Deployment | None, now_ms: int | None = None
) -> list[Finding]:
    """Look at every endpoint.

    One that does not do fails where it is the only one; where another one does, a warning is
    enough, since a node passes it over.
    """
    if len(urls) == 1:
        return await check_chain(urls[0], deployment, now_ms)
    looks = [await check_chain(url, deployment, now_ms) for url in urls]
    one_does = any(all(each.mark is not Mark.FAIL for each in look) for look in looks)
    return [
        _excuse(replace(finding, check=f"{finding.check} {number}"), one_does)
        for number, look in enumerate(looks, 1)
        for finding in look
    ]


def _excuse(finding: Finding, one_does: bool) -> Finding:
    if finding.mark is not Mark.FAIL or not one_does:
        return finding
    return replace(
        finding, mark=Mark.WARN, reason=f"{finding.reason}; a node uses another one meanwhile"
    )


async def check_gas(urls: Sequence[str], deployment: Deployment, data_dir: Path) -> list[Finding]:
    """How long can the wallet pay for gas? Nothing to say where no endpoint answers."""
    try:
        wallet = read_wallet_address(data_dir)
        with closing(open_endpoints(urls, deployment.chain_id)) as rpc:
            chain = ChainClient(rpc, deployment)
            head = await chain.head()
            balance = await chain.gas_balance(wallet)
            held = [k for k in SlotKind if await chain.slot_index(k, wallet) is not None]
    except (ChainError, LocalError):
        # Said already: by the endpoint's own line, or by the wallet's.
        return []
    spending = read_spending(data_dir)
    network = find_network(deployment.chain_id)
    coin = "native units" if network is None else network.coin
    if not held:
        found = f"{format_amount(balance, coin)} on {checksum_address(wallet)}"
        return [Finding("gas", Mark.ABSENT, found, "the wallet is not registered yet")]
    outlooks = [
        compute_outlook(balance, head.base_fee, kind, deployment.preset, spending) for kind in held
    ]
    return [
        describe_gas(
            min(outlooks, key=lambda each: each.epochs_left), coin, checksum_address(wallet)
        )
    ]


def describe_gas(outlook: Outlook, coin: str, address: str) -> Finding:
    """Say how far the balance goes."""
    left = outlook.epochs_left
    by = "by what was paid so far" if outlook.is_measured else "estimated"
    found = (
        f"{format_amount(outlook.balance, coin)}, for about {left:,} epochs at "
        f"{format_amount(outlook.per_epoch, coin)} each ({by})"
    )
    if left >= ENOUGH_EPOCHS:
        return Finding("gas", Mark.OK, found)
    return Finding(
        "gas",
        Mark.WARN if left else Mark.FAIL,
        found,
        "without gas a node cannot take part, nor claim",
        f"send {format_amount(outlook.missing, coin)} or more to {address}",
    )
