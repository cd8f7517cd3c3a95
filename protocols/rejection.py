"""The one way in which a proof is refused."""

from enum import StrEnum

from protocols.errors import RemoteError
from protocols.openings import Index


class ProofRejected(RemoteError):
    """A proof that does not hold.

    `fault` says why, a member of one of the proofs' own enumerations whose text is counted as
    the reason; `index` says where in the compute proof, and is None for everything else.
    """

    def __init__(self, fault: StrEnum, detail: str = "", index: Index | None = None) -> None:
        super().__init__(fault.value, detail)
        self.fault = fault
        self.index = index
