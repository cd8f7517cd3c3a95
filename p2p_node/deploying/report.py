"""What `kaisar deploy` shows: every transaction, what it costs and why, for people and programs."""

from typing import Any

from chain.deploy_plan import DeploymentPlan
from chain.deploy_quote import Quote, QuotedStep
from chain.hexes import to_hex
from p2p_node.config import redact_url
from p2p_node.deploying.survey import Survey
from p2p_node.display import format_amount, format_fields, format_table
from p2p_node.keystore import checksum_address
from protocols.types import Wallet

GWEI_DECIMALS = 9


def describe(survey: Survey, rpc_url: str) -> list[str]:
    """The plan as text: heading, a row per transaction, totals."""
    plan, quote, coin = survey.plan, survey.quote, survey.chain.coin
    fields = {
        "network": f"{survey.chain.name}, chain {survey.chain.chain_id}, at {redact_url(rpc_url)}",
        "numbers": f"preset {plan.options.preset.name}, epochs of "
        f"{plan.options.preset.epoch_seconds} s, epoch 0 from {plan.genesis}",
        "deployer": f"{checksum_address(plan.deployer)}, transactions {plan.nonce} … "
        f"{plan.nonce + len(plan.steps) - 1}",
        "token": checksum_address(plan.addresses["Token"])
        + (" (existing)" if plan.options.token is not None else " (new)"),
        "collection": checksum_address(plan.addresses["Nft"])
        + (" (existing)" if plan.options.nft is not None else " (new)"),
        "steward": f"owner {_role(plan, plan.options.owner)}, "
        f"guardian {_role(plan, plan.options.guardian)}",
        "reward fund": format_amount(plan.options.reward_fund),
        "price": f"{format_amount(quote.price, 'gwei', GWEI_DECIMALS)} per gas expected, "
        f"{format_amount(quote.fees.max_fee, 'gwei', GWEI_DECIMALS)} at most",
    }
    if quote.is_cheap:
        least = format_amount(quote.chain.min_gas_price, "gwei", GWEI_DECIMALS)
        fields["price"] += f" (the least that is known of {survey.chain.name} is {least})"
    if survey.done:
        fields["continued"] = f"{survey.done} of {len(plan.steps)} are on the chain already"
    rows = [
        (
            step.number + 1,
            step.simulated.step.label,
            _target(step),
            len(step.simulated.step.call.data),
            step.simulated.cost.evm_gas,
            step.simulated.cost.proof_bytes,
            step.gas,
            step.gas_limit,
            _shorten(step.expected, coin),
        )
        for step in quote.steps
    ]
    headers = (
        *("#", "transaction", "contract", "bytes", "EVM gas", "proof bytes"),
        *("gas paid", "gas limit", "expected cost"),
    )
    return [*format_fields(fields), "", *format_table(headers, rows), "", *_totals(quote)]


def _role(plan: DeploymentPlan, wallet: Wallet | None) -> str:
    return "the deployer" if wallet in (None, plan.deployer) else checksum_address(wallet)


def _totals(quote: Quote) -> list[str]:
    coin = quote.chain.coin
    fields = {
        "expected": _shorten(quote.expected, coin),
        "at most": _shorten(quote.most, coin),
        "needed": f"{_shorten(quote.needed, coin)} in the wallet to begin with",
        "balance": format_amount(quote.balance, coin)
        + (": enough" if quote.is_enough else ": NOT ENOUGH"),
        "proof": _proof(quote),
    }
    return format_fields(fields)


def _shorten(amount: int, coin: str) -> str:
    """Write five figures of an amount, rounded up: prices change before it is paid."""
    unit = 10 ** max(0, len(str(amount)) - 5)
    return format_amount(-(-amount // unit) * unit, coin)


def _proof(quote: Quote) -> str:
    rule = quote.chain.proof_rule
    if rule is None:
        return "this chain does not charge for it"
    costs = [step.simulated.cost for step in quote.steps]
    led = sum(cost.is_led_by_proof(rule) for cost in costs)
    largest = max((cost.proof_bytes for cost in costs), default=0)
    text = f"at most {largest:,} of {rule.max_proof_bytes:,} bytes"
    if led:
        return f"{text}; {led} transactions cost {rule.gas_per_proof_byte} gas per byte of it"
    return f"{text}; nowhere dearer than the EVM's own gas"


def _target(step: QuotedStep) -> str:
    planned = step.simulated.step
    address = planned.address if planned.address is not None else planned.call.to
    return checksum_address(address) if address is not None else ""


def to_json(survey: Survey, rpc_url: str) -> dict[str, Any]:
    """The same as one JSON object; amounts of money as texts."""
    plan, quote, chain = survey.plan, survey.quote, survey.chain
    return {
        "network": chain.name,
        "chain_id": chain.chain_id,
        "rpc": redact_url(rpc_url),
        "preset": plan.options.preset.name,
        "genesis": plan.genesis,
        "deployer": to_hex(plan.deployer),
        "owner": to_hex(plan.options.owner or plan.deployer),
        "guardian": to_hex(plan.options.guardian or plan.deployer),
        "nonce": plan.nonce,
        "done": survey.done,
        "addresses": {name: to_hex(address) for name, address in plan.addresses.items()},
        "transactions": [_step_to_json(step) for step in quote.steps],
        "base_fee": str(quote.base_fee),
        "price": str(quote.price),
        "max_price": str(quote.fees.max_fee),
        "tip": str(quote.fees.tip),
        "expected": str(quote.expected),
        "most": str(quote.most),
        "needed": str(quote.needed),
        "balance": str(quote.balance),
        "enough": quote.is_enough,
        "fits": quote.fits,
    }


def _step_to_json(step: QuotedStep) -> dict[str, Any]:
    planned, cost = step.simulated.step, step.simulated.cost
    return {
        "number": step.number,
        "label": planned.label,
        "creates": planned.creates,
        "address": None if planned.address is None else to_hex(planned.address),
        "to": None if planned.call.to is None else to_hex(planned.call.to),
        "bytes": len(planned.call.data),
        "evm_gas": cost.evm_gas,
        "proof_bytes": cost.proof_bytes,
        "stored_bytes": cost.stored_bytes,
        "gas": step.gas,
        "gas_limit": step.gas_limit,
        "expected": str(step.expected),
        "most": str(step.most),
    }
