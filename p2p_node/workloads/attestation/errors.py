"""What can be wrong with an attestation."""

from protocols.errors import LocalError, RemoteError


class AttestationRejected(RemoteError):
    """The evidence does not show what it should; `reason` is a fixed phrase."""


class AttestationUnavailableError(LocalError):
    """This machine's GPU signs nothing: no confidential computing, or it is off."""
