"""Take one defence out of the real code, and the attack that it stops succeeds.

So every test of test_attacks.py that is named here fails without what it is about.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import Any
from unittest.mock import patch

import pytest

from bench.adversaries import answers, claims, clocks, inputs, memory, products, skipping
from bench.adversaries.inputs import _derive_without
from bench.adversaries.outcome import Outcome
from bench.adversaries.world import make_check
from protocols.compute import ComputeJob, digest_rows
from protocols.memory import MemoryJob

Patches = list[AbstractContextManager[Any]]


def _accept(*_: object) -> None:
    return None


def no_paths() -> Patches:
    return [patch("protocols.verify._verify_paths", _accept)]


def no_products() -> Patches:
    return [patch("protocols.verify._verify_products", _accept)]


def no_look_at_rows() -> Patches:
    return [*no_paths(), *no_products()]


def no_pass_paths() -> Patches:
    return [patch("protocols.memory.compute_root_from_path", lambda *_: memory._Whatever())]


def structured_expansion() -> Patches:
    return [
        patch("protocols.freivalds.expand_rows", inputs.expand_hankel_rows),
        patch("protocols.verify.expand_each", inputs.expand_hankel_each),
        patch("bench.adversaries.inputs.expand_matrix", inputs.expand_hankel_rows),
    ]


def seeds_without(**blank: Any) -> Patches:
    return [patch.object(ComputeJob, "derive_a_seed", _derive_without(**blank))]


def leaves_without_names() -> Patches:
    def digest_each(rows: Any, names: list[tuple[int, int]]) -> list[bytes]:
        return [digest_rows(rows[i : i + 1], t ^ 1, row) for i, (t, row) in enumerate(names)]

    return [patch("protocols.verify.digest_each", digest_each)]


def scoring_with(**changes: Any) -> Patches:
    return [patch(f"protocols.scoring.{name}", value) for name, value in changes.items()]


def rate_over_own_time() -> Patches:
    return [
        patch(
            "bench.adversaries.clocks.compute_throughput",
            lambda work, elapsed_us, _: work * 1_000_000 // elapsed_us,
        )
    ]


CASES: list[tuple[Callable[[], Outcome], Callable[[], Patches]]] = [
    (inputs.use_structured_inputs, structured_expansion),
    (inputs.replay_an_answer, lambda: seeds_without(nonce=b"")),
    (inputs.show_anothers_answer, lambda: seeds_without(provider=b"")),
    (inputs.show_one_device_twice, lambda: seeds_without(device=0)),
    (inputs.repeat_a_round, lambda: seeds_without(round=0)),
    (inputs.swap_rounds, lambda: seeds_without(round=0)),
    (inputs.unchain_rounds, seeds_without),
    (inputs.exchange_trees, leaves_without_names),
    (skipping.leave_garbage_leaves, no_paths),
    (skipping.skip_little, no_paths),
    (skipping.grind_the_draw, no_paths),
    (skipping.earn_a_cheap_mode, no_paths),
    (skipping.claim_rounds, no_look_at_rows),
    (skipping.claim_width, no_products),
    (products.compute_on_demand, no_paths),
    (products.forge_a_product, no_products),
    (
        products.sketch_the_rows,
        lambda: [patch("protocols.compute.mix_rows", products.sketch)],
    ),
    (products.collide_with_a_leaf, no_products),
    (
        products.guess_products,
        lambda: [patch("bench.adversaries.products.find_wrong_rows", lambda *_: [])],
    ),
    (memory.stream_the_memory, lambda: scoring_with(REGENERATION_MARGIN=(0, 1))),
    (memory.claim_what_is_not_kept, no_pass_paths),
    (memory.skip_a_little_of_each_pass, no_pass_paths),
    (memory.pack_the_words, lambda: scoring_with(compute_word_bits=lambda _: 32)),
    (
        memory.keep_digests,
        lambda: [
            patch.object(MemoryJob, "derive_start", lambda *_: memory.DigestHolder.fixed),
        ],
    ),
    (
        memory.keep_sums,
        lambda: [
            patch("protocols.memory.mix_rows", lambda rows, start: products.sketch(rows) + start)
        ],
    ),
    (
        memory.make_all_passes_at_once,
        lambda: [patch.object(MemoryJob, "derive_seed", lambda job, *_: job.nonce)],
    ),
    (memory.pass_on_demand, no_pass_paths),
    (memory.show_a_smaller_rate, lambda: scoring_with(REGENERATION_MARGIN=(0, 1))),
    (memory.bring_words_over_pcie, lambda: scoring_with(PASS_LIMIT_US=10**9)),
    (clocks.answer_early, rate_over_own_time),
    (claims.hide_idle_devices, no_look_at_rows),
    (claims.register_a_million, no_look_at_rows),
    (answers.spoil_the_openings, no_look_at_rows),
    (answers.spoil_the_passes, no_pass_paths),
]


@pytest.fixture(autouse=True)
def _own_checks() -> Iterator[None]:
    """Secret vectors are remembered; some defences go into them."""
    make_check.cache_clear()
    yield
    make_check.cache_clear()


@pytest.mark.parametrize(("attack", "take_out"), CASES, ids=[each.__name__ for each, _ in CASES])
def test_without_the_defence_the_attack_succeeds(
    attack: Callable[[], Outcome], take_out: Callable[[], Patches]
) -> None:
    with ExitStack() as stack:
        for change in take_out():
            stack.enter_context(change)
        outcome = attack()

    assert not outcome.as_claimed, outcome
