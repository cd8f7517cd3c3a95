"""What can go wrong between this node and the chain, as part of the project's tree.

RemoteError
└── ChainError                  somebody else's fault: the RPC node, the chain or a contract
    ├── UnavailableError        no answer; the same request may work later
    │   ├── UnreachableError    refused, reset, no route, no such host, HTTP 5xx or 429
    │   └── TimedOutError       no answer in time
    ├── MalformedAnswerError    an answer that is no JSON-RPC, too long, or of the wrong type
    ├── RefusedError            a JSON-RPC error: `code` and `message`
    │   ├── RevertedError       a contract refused: `revert_reason` is its text, if any
    │   └── UnfundedError       the wallet cannot pay for a transaction
    ├── WrongChainError         chain id or code are not those of our deployment
    └── TransactionError        a transaction that did not do what was asked
        ├── FailedError         it is in a block, and it reverted; it cost gas
        ├── SupersededError     another transaction used its nonce
        ├── ObsoleteError       somebody else did it first; nothing is sent, or the nonce is freed
        └── ExpiredError        the deadline passed; its nonce is freed by the manager itself
LocalError
├── DeploymentFileError         a deployment file that cannot be read
└── QueueFullError              more transactions asked for than the queue holds
"""

from protocols.errors import LocalError, RemoteError


class ChainError(RemoteError):
    """The RPC node, the chain or a contract did not do what was asked."""


class UnavailableError(ChainError):
    """No answer; the same request may well be answered later."""


class UnreachableError(UnavailableError):
    """No connection to the RPC node, or it says itself that it cannot serve now."""

    def __init__(self, detail: str) -> None:
        super().__init__("rpc unreachable", detail)


class TimedOutError(UnavailableError):
    """The RPC node did not answer in time."""

    def __init__(self, detail: str) -> None:
        super().__init__("rpc timed out", detail)


class MalformedAnswerError(ChainError):
    """An answer that is not JSON-RPC, is too long, or does not have the type it must have."""

    def __init__(self, detail: str) -> None:
        super().__init__("malformed rpc answer", detail)


class RefusedError(ChainError):
    """The RPC node answered with an error object."""

    def __init__(self, code: int, message: str, reason: str = "rpc refused") -> None:
        super().__init__(reason, f"{message} ({code})")
        self.code = code
        self.message = message


class RevertedError(RefusedError):
    """A contract refused a call; `revert_reason` is the text of its assertion, if it gave one."""

    def __init__(self, code: int, message: str, revert_reason: str | None) -> None:
        super().__init__(code, message, "reverted")
        self.revert_reason = revert_reason


class UnfundedError(RefusedError):
    """The wallet holds too little of the chain's own coin to pay for a transaction."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(code, message, "wallet cannot pay")


class WrongChainError(ChainError):
    """The RPC node serves another chain than the deployment is on, or the code is not there."""

    def __init__(self, detail: str) -> None:
        super().__init__("wrong chain", detail)


class TransactionError(ChainError):
    """A transaction did not do what was asked."""


class FailedError(TransactionError):
    """A transaction is in a block and reverted.

    `revert_reason` was found by repeating the call on the state before that block; None when the
    repetition succeeded or gave no text.
    """

    def __init__(self, label: str, transaction_hash: bytes, revert_reason: str | None) -> None:
        super().__init__(
            "transaction reverted",
            f"{label} 0x{transaction_hash.hex()}: {revert_reason or 'no reason given'}",
        )
        self.transaction_hash = transaction_hash
        self.revert_reason = revert_reason


class SupersededError(TransactionError):
    """Another transaction of this wallet, unknown to this node, used the nonce."""

    def __init__(self, label: str, nonce: int) -> None:
        super().__init__("nonce used elsewhere", f"{label}: nonce {nonce}")
        self.nonce = nonce


class ObsoleteError(TransactionError):
    """What the transaction was for has been done by somebody else.

    It was not sent; or it waits for a block, and the manager replaces it by an empty transfer,
    which costs less than a revert.
    """

    def __init__(self, label: str) -> None:
        super().__init__("transaction obsolete", label)


class ExpiredError(TransactionError):
    """The deadline passed before the transaction was confirmed as asked.

    If it was not in a block yet, the manager replaces it by an empty transfer, so that its nonce
    does not block others; a block that comes first may still hold it. If it was, it stands: should
    a reorganisation take it back, it is sent again.
    """

    def __init__(self, label: str) -> None:
        super().__init__("transaction expired", label)


class DeploymentFileError(LocalError):
    """A deployment file that cannot be read; the text names the field, found and expected."""


class QueueFullError(LocalError):
    """More transactions were asked for than the manager's queue holds."""
