"""Attacks on the reader of answers: malformed and oversized openings, and copied reports."""

import random
import struct

import numpy as np

from bench.adversaries.outcome import Outcome
from bench.adversaries.world import (
    ROUNDS,
    SHAPE,
    Holder,
    Prover,
    judge,
    judge_holder,
    make_job,
    name,
    trial,
)
from protocols.errors import MalformedError
from protocols.memory import decode_pass_openings, draw_passes
from protocols.merkle import build_tree, compute_root_from_path, hash_leaf
from protocols.openings import decode_openings, draw_openings

SPOILT = 1000


def announce_a_size() -> Outcome:
    """Announce a size within the answer, and let the reader allocate it. Ours has no such field."""
    announced = struct.pack("<Q", 1 << 40)
    (asked_for,) = struct.unpack_from("<Q", announced)
    indices = draw_openings(trial(0), ROUNDS, SHAPE.m)
    accepted = 0
    for data in (announced, b"", bytes(16 << 20), bytes(64)):
        try:
            decode_openings(data, SHAPE, ROUNDS, indices)
            accepted += 1
        except MalformedError:
            pass
    return Outcome(
        "oversized openings",
        2,
        "sizes that follow from the commitment and the request alone",
        asked_for > 1 << 30,
        accepted > 0,
        "refused by length, before anything is allocated",
    )


def spoil_the_openings() -> Outcome:
    """A thousand honest answers with something cut, added, flipped or exchanged."""
    prover = Prover(make_job())
    chooser = random.Random(1337)
    accepted = 0
    for number in range(SPOILT):
        kind = chooser.choice(["cut", "pad", "flip", "swap", "repeat"])

        def answer(indices: object, kind: str = kind) -> bytes:
            data = bytearray(prover.open(indices))  # type: ignore[arg-type]
            place = chooser.randrange(len(data) - 64)
            if kind == "cut":
                return bytes(data[:place])
            if kind == "pad":
                return bytes(data) + bytes(1 + place)
            if kind == "flip":
                data[place] ^= 1 << chooser.randrange(8)
            elif kind == "swap":
                width = SHAPE.row_bytes
                one, other = chooser.sample(range(64), 2)
                rows = [bytes(data[i * width : (i + 1) * width]) for i in (one, other)]
                data[one * width : (one + 1) * width] = rows[1]
                data[other * width : (other + 1) * width] = rows[0]
            else:
                data[:64] = data[64:128]
            return bytes(data)

        accepted += judge(prover.job, prover.commitment, answer, trial(number)) is None
    indices = draw_openings(trial(0), ROUNDS, SHAPE.m)
    read = decode_openings(prover.open(indices), SHAPE, ROUNDS, indices)
    return Outcome(
        "malformed openings",
        2,
        "every byte checked: length, commitment, path, product",
        read.rows.shape == (64, SHAPE.n),
        accepted > 0,
        f"{accepted} of {SPOILT} accepted, none ends otherwise than refused",
    )


def spoil_the_passes() -> Outcome:
    """Likewise for openings of passes."""
    holder = Holder(Prover(make_job()), 4)
    drawn = draw_passes(trial(0), [(holder.commitment.passes, holder.job.rows)])[0]
    honest = holder.open(drawn)
    chooser = random.Random(1337)
    accepted = 0
    for number in range(300):
        data = bytearray(honest)
        place = chooser.randrange(len(data))
        if number % 3 == 0:
            data = data[:place]
        elif number % 3 == 1:
            data += bytes(1 + place)
        else:
            data[place] ^= 1 << chooser.randrange(8)
        holder.open = lambda _, data=data: bytes(data)  # type: ignore[method-assign,misc]
        accepted += judge_holder(holder, trial(0)) is None
    read = decode_pass_openings(honest, holder.commitment.passes, holder.job.rows, drawn)
    return Outcome(
        "malformed openings of passes",
        2,
        "every byte checked: length, commitment, path",
        len(read.paths) == len(drawn),
        accepted > 0,
        f"{accepted} of 300 accepted",
    )


def copy_a_report() -> Outcome:
    """Sign what another checker found, without having asked anybody. What is copied has the other's
    evidence root, or one of its own making; neither can be opened to a transcript that the
    provider signed for this checker."""
    lanes = range(8)
    transcripts = {lane: name(f"transcript {lane} of bob's seat") for lane in lanes}
    scores = {lane: 1000 + lane for lane in lanes}
    leaves = [hash_leaf(lane.to_bytes(2, "big") + transcripts[lane]) for lane in lanes]
    tree = build_tree(b"".join(leaves))
    copied = (dict(scores), tree.root)
    looks_right = copied == (scores, tree.root)
    guesses = np.random.default_rng(1337)
    opened = 0
    for lane in lanes:
        for _ in range(100):
            leaf = hash_leaf(lane.to_bytes(2, "big") + guesses.bytes(32))
            path = guesses.bytes(len(tree.path(lane)))
            opened += compute_root_from_path(leaf, lane, len(leaves), path) == copied[1]
    honest = compute_root_from_path(leaves[3], 3, len(leaves), tree.path(3)) == tree.root
    return Outcome(
        "lazy checkers: a copied report",
        12,
        "an evidence root over one's own transcripts",
        looks_right,
        opened > 0 or not honest,
        f"{opened} of {100 * len(lanes)} lanes opened",
    )


ATTACKS = (announce_a_size, spoil_the_openings, spoil_the_passes, copy_a_report)
