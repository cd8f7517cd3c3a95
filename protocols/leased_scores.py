"""What a leased provider is worth: it proves nothing while its machine is somebody else's.

A provider that answers BUSY names its lease. Whoever judges that answer looks the lease up on the
chain, and gives it

    score = min(32767, max(fresh, min((1 + JOB_WEIGHT) · base.score, fee_points)))

    fresh      = base.score     while epoch − base.epoch ≤ FRESH_EPOCHS, 0 after that
    fee_points = fee · base.total // provider pool of base.epoch by the schedule
    fee        = the fund's part of what the lease pays for its seconds in the epoch before

*base* is what the provider proved last before the lease, with the sum of all scores of that epoch;
Rental.vy lays it down at acceptance.

**Why not simply Kaisar's.** Its Worker_Score counts leased time as Uptime + Jobtime · Wj with
Wj = 3: four times what the machine proved. But a provider can lease its machine to itself: the
price goes from one of its pockets into the other, and would buy a score without any machine. The
one thing that such a lease costs is the fee. fee / pool is the part of an epoch's pool that the fee
comes to, and as many points of base.total earn no more than that part. So beyond the fresh ones no
score earns more than its lease has brought into the fund of rewards, and where an honest lease is
worth it, the provider gets the fee back.

**Why the epoch before.** What a lease pays for this epoch is not known before the epoch is over:
it can be ended right after the slots. The seconds of the epoch before are over, and paid; each
counts once; and every seat of a committee comes to the same number.

**Why fresh ones.** The machine was there, proved what it is, and took a renter in; it should not
lose by that. But this is an assumption and no proof: whoever proves one epoch and leases the
machine to itself for FRESH_EPOCHS has the machine free meanwhile, for another identity with a stake
of its own. So one machine can stand behind 1 + FRESH_EPOCHS of them, and no more.
"""

from typing import Final

from protocols.epochs import Timeline
from protocols.errors import RemoteError
from protocols.leases import Lease, compute_fee, compute_overlap
from protocols.membership import Member
from protocols.params import MAX_SCORE
from protocols.scoring import MILLI
from protocols.settlement import compute_schedule
from protocols.types import Epoch, Seat

JOB_WEIGHT: Final = 3
"""Kaisar's Wj (facts: kaisar.md, Worker_Score)."""

FRESH_EPOCHS: Final = 2
"""For so long a machine counts as what it proved last. One would do for the epoch in which a lease
begins; but in an epoch's first minutes the bundle of the one before may still be on its way, and
the base is older by one. Each more would be one more identity behind one machine."""


class LeaseUnproved(RemoteError):
    """The lease that a refusal names does not excuse this provider in this slot."""


def require_lease(
    lease: Lease | None, provider: Member, epoch: Epoch, seat: Seat, timeline: Timeline
) -> Lease:
    """Return the lease if the machine of `provider` was its renter's in the slot of `seat`.

    `lease` is what the chain has under the number in the provider's refusal. Any moment of the slot
    will do, and as far from it as blocks take to be seen (`rank_delay_ms`): the provider goes by
    its chain, and so does whoever judges it. Raises LeaseUnproved.
    """
    if lease is None:
        raise LeaseUnproved("no such lease")
    if lease.provider != provider.index:
        raise LeaseUnproved("lease of another provider", f"of {lease.provider}")
    if lease.provider_wallet != provider.wallet:
        # Of whoever had the slot before.
        raise LeaseUnproved("lease of another wallet", f"lease {lease.id}")
    if not lease.started_at:
        raise LeaseUnproved("lease not accepted", f"lease {lease.id} is {lease.state.name.lower()}")
    slack = timeline.preset.rank_delay_ms
    if lease.started_at * MILLI > timeline.slot_end(epoch, seat) + slack:
        raise LeaseUnproved("lease not begun", f"begins at {lease.started_at}")
    if lease.ends_at * MILLI <= timeline.slot_start(epoch, seat) - slack:
        raise LeaseUnproved("lease over", f"since {lease.ends_at}")
    return lease


def compute_fee_points(lease: Lease, epoch: Epoch, timeline: Timeline) -> int:
    """Return the score that earns in `epoch` what the lease paid the fund for the epoch before.

    At the scores and the pool of its base. 0 when nothing is emitted any more, or before the first
    epoch.
    """
    preset = timeline.preset
    pool = compute_schedule(preset.provider_pool, lease.base.epoch, preset)
    if not pool or not epoch:
        return 0
    start = timeline.start_of(Epoch(epoch - 1)) // MILLI
    paid = compute_overlap(lease, start, start + preset.epoch_seconds) * lease.terms.price
    return compute_fee(paid, lease.terms.fee_bps) * lease.base.total // pool


def compute_leased_score(lease: Lease, epoch: Epoch, timeline: Timeline) -> int:
    """Return the score of a provider in an epoch in which this lease excuses it.

    0 where it has proved nothing in the epochs before the lease.
    """
    base = lease.base
    fresh = base.score if epoch - base.epoch <= FRESH_EPOCHS else 0
    job = (1 + JOB_WEIGHT) * base.score
    return min(MAX_SCORE, max(fresh, min(job, compute_fee_points(lease, epoch, timeline))))
