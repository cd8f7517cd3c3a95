"""What is made ready for one renter, as it is kept until the lease is over.

An operator may change templates, limits or the runner while somebody is there: what was promised
stays as it was, also over a restart.
"""

import json
from dataclasses import asdict, dataclass
from typing import Self

from p2p_node.rental.runner import Limits, Template
from protocols.errors import LocalError


@dataclass(frozen=True, slots=True)
class Place:
    """A template with the limits that it runs within, on the runner with this name."""

    runner: str
    template: Template
    limits: Limits

    def encode(self) -> bytes:
        """Write it for the store."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read what `encode` wrote; LocalError for anything else."""
        try:
            fields = json.loads(data)
            template, limits = fields["template"], fields["limits"]
            for name in ("command", "ports"):
                template[name] = tuple(template[name])
            return cls(str(fields["runner"]), Template(**template), Limits(**limits))
        except (ValueError, TypeError, KeyError) as error:
            raise LocalError(f"a lease's place cannot be read from the store: {error}") from error
