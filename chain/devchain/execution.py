"""Runs one call on a state: what `eth_call`, estimates, traces and simulations have in common."""

from dataclasses import dataclass
from typing import Final

from eth.abc import ComputationAPI, StateAPI
from eth.exceptions import Revert, VMError
from eth.vm.forks.london import LondonVM
from eth.vm.forks.london.transactions import LondonTransactionBuilder
from eth.vm.message import Message
from eth_typing import Address

from chain.addresses import predict_address
from chain.recursion import cap_recursion
from protocols.types import Wallet

cap_recursion()

NO_ADDRESS: Final = Address(b"")


@dataclass(frozen=True, slots=True)
class CallRequest:
    """What `eth_call` and `eth_estimateGas` execute; `to` None creates a contract."""

    sender: bytes
    to: bytes | None
    value: int
    data: bytes


@dataclass(frozen=True, slots=True)
class CallResult:
    """How an execution ended.

    `gas_used` includes the intrinsic gas and has refunds taken off; `gas_peak` has not.
    `error` is None for success; `reverted` tells a revert from running out of gas and the like.
    """

    output: bytes
    gas_used: int
    gas_peak: int
    error: str | None
    reverted: bool


def run_call(state: StateAPI, request: CallRequest, gas: int) -> CallResult:
    """Run a call, for free; what it changes stays changed unless whoever asked takes it back."""
    intrinsic = intrinsic_gas(request)
    if gas < intrinsic:
        return CallResult(b"", gas, gas, "intrinsic gas too low", False)
    computation = _apply(state, request, gas - intrinsic)
    peak = gas - computation.get_gas_remaining()
    refund = LondonVM.calculate_net_gas_refund(peak, computation.get_gas_refund())
    error = computation.error if computation.is_error else None
    return CallResult(
        output=computation.output,
        gas_used=peak - refund,
        gas_peak=peak,
        error=None if error is None else str(error) or type(error).__name__,
        reverted=isinstance(error, Revert),
    )


def _apply(state: StateAPI, request: CallRequest, gas: int) -> ComputationAPI:
    sender = Address(request.sender)
    context = state.get_transaction_context_class()(gas_price=0, origin=sender)
    state.mark_address_warm(sender)
    if request.to is None:
        created = predict_address(Wallet(request.sender), state.get_nonce(sender))
        state.increment_nonce(sender)
        message = Message(
            gas=gas,
            to=NO_ADDRESS,
            sender=sender,
            value=request.value,
            data=b"",
            code=request.data,
            create_address=Address(created),
        )
    else:
        target = Address(request.to)
        message = Message(
            gas=gas,
            to=target,
            sender=sender,
            value=request.value,
            data=request.data,
            code=state.get_code(target),
        )
    state.mark_address_warm(message.storage_address)
    apply = (
        state.computation_class.apply_create_message
        if request.to is None
        else state.computation_class.apply_message
    )
    try:
        return apply(state, message, context)
    except VMError as error:
        # Only checks made before the first instruction raise, such as too small a balance.
        computation = state.get_computation(message, context)
        computation.error = error
        return computation


def intrinsic_gas(request: CallRequest) -> int:
    """Return the gas that a transaction costs before its first instruction."""
    unsigned = LondonTransactionBuilder.new_unsigned_dynamic_fee_transaction(
        chain_id=0,
        nonce=0,
        max_priority_fee_per_gas=0,
        max_fee_per_gas=0,
        gas=0,
        to=NO_ADDRESS if request.to is None else Address(request.to),
        value=request.value,
        data=request.data,
        access_list=(),
    )
    return unsigned.intrinsic_gas
