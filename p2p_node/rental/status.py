"""What a renter is told about its place, as one JSON document.

    {"lease", "state", "problem", "template", "image", "ports", "runner", "streams", "seconds_left",
     "ends_at", "limits": {…}, "usage": {…} or null, "log_bytes"}

Sizes in bytes, times in Unix seconds. `template` and `limits` are null before a deployment, `usage`
until the place is ready.
"""

import json
from dataclasses import asdict

from p2p_node.rental.runner import Usage
from p2p_node.rental.tenancy import Tenancy
from protocols.leases import Lease


def describe_tenancy(tenancy: Tenancy, lease: Lease | None, now: int, usage: Usage | None) -> str:
    """Write the document; `lease` is the newest that is known, `now` goes by the chain."""
    place = tenancy.place
    ends_at = lease.ends_at if lease else 0
    return json.dumps(
        {
            "lease": tenancy.lease_id,
            "state": tenancy.state.value,
            "problem": tenancy.problem,
            "template": place and place.template.name,
            "image": place and place.template.image,
            "ports": list(place.template.ports) if place else [],
            "runner": tenancy.runner.name,
            "streams": tenancy.streams,
            "seconds_left": max(0, ends_at - now),
            "ends_at": ends_at,
            "limits": place and asdict(place.limits),
            "usage": usage and asdict(usage),
            "log_bytes": tenancy.log.end,
        }
    )
