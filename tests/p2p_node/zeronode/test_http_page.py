"""The page about HTTP names every route and every bound, as they are."""

import re
from pathlib import Path

from p2p_node.zeronode.http_types import MAX_OBJECTS
from p2p_node.zeronode.service import make_routes
from p2p_node.zeronode.web_settings import WebSettings
from p2p_node.zeronode.web_socket import MAX_CONTROL_FRAMES

PAGE = (Path(__file__).parents[3] / "docs/spec/zeronode-http.md").read_text()


def test_page_has_every_route() -> None:
    listed = re.findall(r"^\| `([A-Z]+ /\S+)` \| (.*) \| (.*) \|$", PAGE, re.MULTILINE)
    routes = {f"{each.method} {each.path}": each for each in make_routes().all}
    assert [name for name, _, _ in listed] == list(routes)
    for name, needs, takes in listed:
        route = routes[name]
        assert ("a token" in needs) == (route.is_private or route.is_personal)
        fields = (route.body or {}).get("properties", {})
        assert re.findall(r"`\??([a-z_]+)`", takes) == [*fields, *route.query]


def test_page_has_the_bounds() -> None:
    bounds = WebSettings()
    for line in (
        f"| header | {bounds.max_header_bytes >> 10} KiB, within {bounds.header_seconds} s |",
        f"| body | {bounds.max_body_bytes >> 10} KiB, within {bounds.body_seconds} s |",
        f"| answer | within {bounds.answer_seconds} s; "
        f"taken by the client within {bounds.write_seconds} s |",
        f"| idle connection | {bounds.idle_seconds} s |",
        f"| message of a WebSocket | {bounds.max_frame_bytes >> 10} KiB; "
        f"{MAX_CONTROL_FRAMES} control frames",
        f"at most {MAX_OBJECTS} objects and lists",
    ):
        assert line in PAGE
