"""Runs a deployment's plan on a chain of its own, in memory, to learn what each step will cost.

The real chain cannot be asked: most constructors call contracts that are not there yet. Here they
are, at their real addresses, because deployer and transaction numbers are the real ones. The EVM
is the devchain's, with London's rules; what peaq's later rules add to the price of creation code is
added by hand. Nothing is sent anywhere.
"""

from dataclasses import dataclass, replace
from typing import Final

from eth.constants import BLANK_ROOT_HASH
from eth.db.atomic import AtomicDB
from eth.vm.chain_context import ChainContext
from eth.vm.forks.london import LondonVM
from eth_typing import Address

from chain.abi import decode_revert_reason, get_interface
from chain.budget import Cost, compute_cost
from chain.deploy_plan import OWN_NFT, OWN_TOKEN, DeploymentPlan, Step, plan_deployment
from chain.devchain.execution import CallRequest, run_call
from chain.devchain.tracing import TracingState, build_tracing_state
from chain.records import Call
from protocols.errors import LocalError
from protocols.hashing import keccak256
from protocols.types import Wallet

GAS: Final = 30_000_000
"""More than any transaction is allowed."""

INIT_WORD_GAS: Final = 2
"""EIP-3860, which came after London: per 32 bytes of creation code."""

_RICH: Final = 10**30
_STRANGER: Final = Wallet(keccak256(b"kaisar/deployer of a stand-in token")[12:])


@dataclass(frozen=True, slots=True)
class SimulatedStep:
    """A step, and what it costs."""

    step: Step
    cost: Cost


def simulate_plan(plan: DeploymentPlan, chain_id: int, timestamp: int) -> tuple[SimulatedStep, ...]:
    """Run every step of a plan; `timestamp` is that of the block they would go into.

    Of an existing token nothing is known here: a token of ours stands in for it, so that the cost
    of paying the fund is that of a plain ERC-20. Likewise for an existing collection. LocalError
    when a step fails.
    """
    chain = SimulatedChain(chain_id, timestamp)
    chain.prepare(plan.deployer, plan.nonce)
    options = plan.options
    if options.token is not None:
        # Twice the fund: what is left is not zero, for which storage would be refunded.
        token = _deploy_token(chain, plan.deployer, 2 * options.reward_fund)
        options = replace(options, token=token)
    if options.nft is not None:
        options = replace(options, nft=_deploy_nft(chain))
    simulated = plan
    if options != plan.options:
        simulated = plan_deployment(plan.deployer, plan.nonce, plan.genesis, options)
    costs = [chain.take(plan.deployer, step) for step in simulated.steps]
    return tuple(map(SimulatedStep, plan.steps, costs))


def _deploy_token(chain: "SimulatedChain", owner: Wallet, supply: int) -> Wallet:
    """Deploy a token from somebody else's account, and give `owner` all of it."""
    interface = get_interface("Token")
    creation = Call(None, interface.encode_deployment((*OWN_TOKEN, supply)))
    token = chain.execute(_STRANGER, creation, "stand-in").created
    transfer = interface.functions["transfer"].encode((owner, supply))
    chain.execute(_STRANGER, Call(token, transfer), "stand-in's transfer")
    return token


def _deploy_nft(chain: "SimulatedChain") -> Wallet:
    creation = get_interface("Nft").encode_deployment((*OWN_NFT, _STRANGER))
    return chain.execute(_STRANGER, Call(None, creation), "stand-in").created


@dataclass(frozen=True, slots=True)
class Executed:
    """What a call did: its cost, its output, and where the contract is that it created."""

    cost: Cost
    output: bytes
    created: Wallet


class SimulatedChain:
    """A state without blocks, on which calls follow one another, each cold and for free.

    `timestamp` may be moved between two calls.
    """

    def __init__(self, chain_id: int, timestamp: int) -> None:
        self.timestamp = timestamp
        self._db = AtomicDB()
        self._context = ChainContext(chain_id)
        # Not the first block: a constructor may ask for the hash of the one before.
        self._header = LondonVM.create_genesis_header(
            difficulty=0, gas_limit=2 * GAS, timestamp=timestamp
        ).copy(block_number=1, state_root=BLANK_ROOT_HASH)

    def prepare(self, wallet: Wallet, nonce: int = 0) -> None:
        """Give a wallet money, and as many sent transactions as it has in reality."""
        state = self._state()
        state.set_balance(Address(wallet), _RICH)
        state.set_nonce(Address(wallet), nonce)
        self._keep(state)

    def take(self, sender: Wallet, step: Step) -> Cost:
        """Run one step of a plan; LocalError unless it creates what it should."""
        executed = self.execute(sender, step.call, step.label)
        if step.creates is not None and executed.created != step.address:
            raise LocalError(f"{step.label}: simulated at another address than planned")
        return executed.cost

    def execute(self, sender: Wallet, call: Call, label: str) -> Executed:
        """Run a call in a block of its own; LocalError, with the contract's words, if it fails."""
        state = self._state()
        result = run_call(state, CallRequest(sender, call.to, call.value, call.data), GAS)
        if result.error is not None:
            reason = decode_revert_reason(result.output) or result.error
            raise LocalError(f"{label}: fails when simulated: {reason}")
        touched = state.notes()
        gas = result.gas_used
        if call.to is None:
            gas += INIT_WORD_GAS * -(-len(call.data) // 32)
        else:
            # A creation has done it itself.
            state.increment_nonce(Address(sender))
        self._keep(state)
        created = next(iter(touched.created), Wallet(b""))
        return Executed(compute_cost(gas, len(call.data), touched), result.output, created)

    def view(self, contract: Wallet, data: bytes) -> bytes:
        """Return what a call gives, and forget what it did."""
        request = CallRequest(_STRANGER, contract, 0, data)
        result = run_call(self._state(), request, GAS)
        if result.error is not None:
            raise LocalError(f"view: {decode_revert_reason(result.output) or result.error}")
        return result.output

    def _state(self) -> TracingState:
        header = self._header.copy(timestamp=self.timestamp)
        return build_tracing_state(self._db, header, self._context, ())

    def _keep(self, state: TracingState) -> None:
        state.lock_changes()
        state.persist()
        self._header = self._header.copy(
            state_root=state.state_root, block_number=self._header.block_number + 1
        )
