"""Runs a deployment's plan on a chain of its own, in memory, to learn what each step will cost.

The real chain cannot be asked: most constructors call contracts that are not there yet. Here they
are, at their real addresses, because deployer and transaction numbers are the real ones. The EVM
is the devchain's, with London's rules; what peaq's later rules add to the price of creation code is
added by hand. Nothing is sent anywhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from eth.constants import BLANK_ROOT_HASH
from eth.db.atomic import AtomicDB
from eth.vm.chain_context import ChainContext
from eth.vm.forks.london import LondonVM
from eth_typing import Address

from chain.abi import get_interface
from chain.budget import Cost, compute_cost
from chain.deploy_plan import OWN_TOKEN, DeploymentPlan, Step, plan_deployment
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
    of paying the fund is that of a plain ERC-20. LocalError when a step fails.
    """
    chain = _Chain(chain_id, timestamp)
    chain.prepare(plan.deployer, plan.nonce)
    simulated = plan
    if plan.options.token is not None:
        # Twice the fund: what is left is not zero, for which storage would be refunded.
        stand_in = chain.deploy_token(plan.deployer, 2 * plan.options.reward_fund)
        options = replace(plan.options, token=stand_in)
        simulated = plan_deployment(plan.deployer, plan.nonce, plan.genesis, options)
    costs = chain.run(plan.deployer, simulated.steps)
    return tuple(map(SimulatedStep, plan.steps, costs))


class _Chain:
    """A state without blocks, on which calls follow one another."""

    def __init__(self, chain_id: int, timestamp: int) -> None:
        self._db = AtomicDB()
        self._context = ChainContext(chain_id)
        # Not the first block: a constructor may ask for the hash of the one before.
        self._header = LondonVM.create_genesis_header(
            difficulty=0, gas_limit=2 * GAS, timestamp=timestamp
        ).copy(block_number=1, state_root=BLANK_ROOT_HASH)

    def prepare(self, deployer: Wallet, nonce: int) -> None:
        """Give the deployer money, and as many sent transactions as it has in reality."""
        state = self._state()
        state.set_balance(Address(deployer), _RICH)
        state.set_nonce(Address(deployer), nonce)
        self._keep(state)

    def deploy_token(self, owner: Wallet, supply: int) -> Wallet:
        """Deploy a token from somebody else's account, and give `owner` all of it."""
        interface = get_interface("Token")
        data = interface.encode_deployment((*OWN_TOKEN, supply))
        created = self._execute(_STRANGER, Step("stand-in", Call(None, data)))[1]
        transfer = interface.functions["transfer"].encode((owner, supply))
        self._execute(_STRANGER, Step("stand-in's transfer", Call(created, transfer)))
        return created

    def run(self, sender: Wallet, steps: Sequence[Step]) -> list[Cost]:
        """Run steps one after the other, each checked to create what it should."""
        costs = []
        for step in steps:
            cost, created = self._execute(sender, step)
            if step.creates is not None and created != step.address:
                raise LocalError(f"{step.label}: simulated at another address than planned")
            costs.append(cost)
        return costs

    def _execute(self, sender: Wallet, step: Step) -> tuple[Cost, Wallet]:
        call = step.call
        state = self._state()
        result = run_call(state, CallRequest(sender, call.to, call.value, call.data), GAS)
        if result.error is not None:
            raise LocalError(f"{step.label}: fails when simulated: {result.error}")
        touched = state.notes()
        gas = result.gas_used
        if call.to is None:
            gas += INIT_WORD_GAS * -(-len(call.data) // 32)
        else:
            # A creation has done it itself.
            state.increment_nonce(Address(sender))
        self._keep(state)
        created = next(iter(touched.created), Wallet(b""))
        return compute_cost(gas, len(call.data), touched), created

    def _state(self) -> TracingState:
        return build_tracing_state(self._db, self._header, self._context, ())

    def _keep(self, state: TracingState) -> None:
        state.lock_changes()
        state.persist()
        self._header = self._header.copy(state_root=state.state_root)
