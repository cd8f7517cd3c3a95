"""What a service says about itself: who it is, its rules, its limits."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from p2p_node.zeronode.api_sign_in import expect_sign_in
from p2p_node.zeronode.limits import publish_limits
from p2p_node.zeronode.parts import Service
from p2p_node.zeronode.routes import Call, Route
from p2p_node.zeronode.schemas import (
    SERVICE,
    TIME,
    anything,
    entries,
    fields,
    hexadecimal,
    listing,
    nullable,
    number,
    text,
    words,
)
from protocols.zeronode_rules import (
    CHECK_IN_POINTS,
    GATES_PER_DAY,
    REFERRED_UNITS_PER_SECOND,
    TICKET_UNITS,
    UNITS_PER_POINT,
    UNITS_PER_SECOND,
    ZeroNodeRules,
)

ADDRESS: Final = nullable(text("0x[0-9a-fA-F]{40}", 42, "A contract."))


def publish_rules(rules: ZeroNodeRules) -> dict[str, Any]:
    """Return all rules as they are shown to everybody; limits stand by themselves."""
    shown = {name: value for name, value in asdict(rules).items() if name != "limits"}
    return {
        **shown,
        "units_per_point": UNITS_PER_POINT,
        "units_per_second": UNITS_PER_SECOND,
        "referred_units_per_second": REFERRED_UNITS_PER_SECOND,
        "ticket_units": TICKET_UNITS,
        "check_in_points": list(CHECK_IN_POINTS),
        "gates_per_day": GATES_PER_DAY,
    }


async def describe_service(service: Service, _: Call) -> Mapping[str, Any]:
    """Tell everybody what they can count on here."""
    identity = service.identity
    expected = expect_sign_in(service)
    return {
        "network": identity.network.hex(),
        "chain_id": identity.chain_id,
        "service": identity.service.hex(),
        "version": service.version,
        "now_ms": service.now(),
        "rules": publish_rules(service.rules),
        "limits": publish_limits(service.rules.limits),
        "anchor": service.contracts.anchor,
        "nft": service.contracts.nft,
        "origins": sorted(service.origins),
        "sign_in": {"domain": expected.domain, "uri": expected.uri},
    }


ROUTES: Final[Sequence[Route[Service]]] = (
    Route(
        "GET",
        "/v1/service",
        "Who this service is, and the rules and limits that it keeps.",
        describe_service,
        fields(
            network=hexadecimal(32, "The deployment that all signatures are for."),
            chain_id=number(1),
            service=SERVICE,
            version=words(40),
            now_ms=TIME,
            rules=entries(anything(), "Every number of ZeroNode; see the specification."),
            limits=entries(anything(), "What is allowed how often, and at once."),
            anchor=ADDRESS,
            nft=ADDRESS,
            origins=listing(words(300), 100, "Pages and extensions that may use the service."),
            sign_in=fields(domain=words(300), uri=words(300)),
        ),
    ),
)
