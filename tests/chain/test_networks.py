"""The presets of chains: complete, distinct, and in agreement with the rest of the project."""

from dataclasses import FrozenInstanceError, fields

import pytest

from chain.compile import EVM_VERSION
from chain.devchain.config import BLOCK_GAS_LIMIT, DEFAULT_CHAIN_ID
from chain.networks import AGUNG, LOCAL, NETWORKS, PEAQ, ChainPreset, find_network, get_network
from chain.transactions import MAX_GAS
from protocols.errors import LocalError
from protocols.params import get_preset

ALL = list(NETWORKS.values())


def test_the_chains_and_their_ids() -> None:
    assert {name: each.chain_id for name, each in NETWORKS.items()} == {
        "peaq": 3338,
        "agung": 9990,
        "local": 31337,
    }


@pytest.mark.parametrize("chain", ALL, ids=lambda each: each.name)
def test_a_chain_fits_its_numbers(chain: ChainPreset) -> None:
    preset = get_preset(chain.preset)
    # A rank must be able to see the bundle of the one before it in a block.
    assert preset.rank_delay_ms >= (4 if chain is not LOCAL else 2) * chain.block_ms
    assert chain.finality_ms >= 2 * chain.block_ms
    assert MAX_GAS <= chain.max_transaction_gas <= chain.block_gas
    assert chain.evm_version == EVM_VERSION


@pytest.mark.parametrize("chain", [PEAQ, AGUNG], ids=lambda each: each.name)
def test_peaqs_ceiling_follows_from_its_proof(chain: ChainPreset) -> None:
    assert chain.proof_rule is not None
    rule = chain.proof_rule
    assert chain.max_transaction_gas == rule.gas_per_proof_byte * rule.max_proof_bytes
    assert 14_600_000 < chain.max_transaction_gas < 14_700_000
    assert chain.finality_blocks is None


def test_peaq_and_agung_have_machines_of_their_own() -> None:
    assert PEAQ.machines is not None
    assert AGUNG.machines is not None
    addresses = [
        getattr(machines, field.name)
        for machines in (PEAQ.machines, AGUNG.machines)
        for field in fields(machines)
    ]
    assert len(set(addresses)) == 8
    assert {len(address) for address in addresses} == {20}
    assert LOCAL.machines is None


def test_the_local_chain_is_the_devchain() -> None:
    assert (LOCAL.chain_id, LOCAL.block_gas) == (DEFAULT_CHAIN_ID, BLOCK_GAS_LIMIT)


def test_finding_a_chain() -> None:
    assert get_network("agung") is AGUNG
    assert find_network(3338) is PEAQ
    assert find_network(1) is None
    with pytest.raises(LocalError, match="network: found 'krest', expected one of peaq, agung"):
        get_network("krest")


def test_presets_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        PEAQ.chain_id = 1  # type: ignore[misc]
