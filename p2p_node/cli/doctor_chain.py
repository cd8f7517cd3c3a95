"""What `kaisar doctor` looks at on the chain: every endpoint of the settings."""

from collections.abc import Sequence
from dataclasses import replace

from chain.deployment import Deployment
from p2p_node.cli.doctor_checks import check_chain
from p2p_node.workloads.self_check import Finding, Mark


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
