"""Every number of the protocol, with its reason.

A preset is a complete set: `mainnet` (peaq), `testnet` (agung) and `minimal` (one machine).
Amounts are in the token's smallest unit (10^-18), times in milliseconds unless the name says
otherwise. Whatever two machines must agree on is an integer.
"""

from dataclasses import dataclass, replace

from protocols.compute import find_shape_fault
from protocols.errors import LocalError

PROTOCOL_VERSION = 1
"""Version of messages, topics and stream names; a change of any signed byte raises it."""

LANES = 256
"""Providers in a shard. One report covers a shard, so gossip grows with checkers only; at 256 a
lane's share of the fixed costs of a bundle is small and the calldata still far below peaq's
limit of some 14.7M gas per transaction (facts: chain.md §7)."""

MAX_SCORE = 0x7FFF
"""Scores have 15 bits: bit 16 of a lane is the borrow bit that lets the contract compare sixteen
lanes with one subtraction."""

MAX_SEATS = 16
"""Deviations of a committee fit one storage word (16 seats × 16 bits)."""

OPENINGS = 64
"""Rows opened per job. A provider that skipped a share ε of the rows survives with
(1 − ε)^64: 0.12 % at ε = 10 %, 3.8 % at ε = 5 % (facts: popw.md (e))."""

MEMORY_OPENINGS = 32
"""Rows opened per memory proof. Whoever claims a share ε more than it holds and cannot make it
again in time survives with (1 − ε)^32, 3.4 % at ε = 10 %, before eleven checkers a round; each of
these rows is a further opening of the compute proof as well, and costs as much to send."""

CLOCK_DISPARITY_MS = 500
"""How far two honest clocks may differ in gossip rules; the value Ethereum's gossip uses."""

ANNOUNCEMENT_LIFETIME_MS = 600_000
"""An address older than ten minutes is not worth dialling; nodes announce five times as often."""

ANNOUNCEMENT_INTERVAL_MS = 2_000
"""Announcements of one node closer together than this are ignored; a restart stays above it."""

TOKEN = 10**18
"""Smallest units in one KAI."""

REFERENCE_RATE = 1_200_000_000_000_000
"""Int8 operations per second that an H100 SXM proves, the card to which Kaisar's own table gives 10
points: 1.19 and 1.22e15 in two runs, 0.89 of what plain multiplications reach on it at its power
limit (bench/results/popw-gpu.json). Its data sheet's 1.98e15 are beyond any program's reach."""

REFERENCE_CHAIN_RATE = 25_000_000
"""Iterations of a chain, calls of SHA-256's compression function, per second that count as a core:
one core of the EPYC machines that this was written on does 28 million, with SHA-256
instructions."""

EMISSION_PER_SECOND = 5 * TOKEN // 4
"""Kaisar's first emission step is 15 KAI per 12-second block = 1.25 KAI/s. Written per second,
because peaq's blocks take about 7 s (facts: kaisar.md)."""

CHECKER_SHARE_PERCENT = 20
"""Kaisar's checker pool is 20 % of the supply."""

EMISSION_STEPS = (15, 13, 11, 0)
"""Kaisar's emission per block by era of four years, as fifteenths of the first; then fees only
(facts: kaisar.md, KAI)."""

BAN_WRONG_IN_WEEK = 2
BAN_WRONG_IN_MONTH = 5
BAN_WRONG_IN_TOTAL = 10
"""Kaisar's published rule for checkers: two wrong results in a week ban for a month, five in a
month for six, more than ten in total for good (facts: kaisar.md, Checker)."""

AUDIT_LANES = 1
"""Transcripts that every member of a committee asks every other for. A copier has none, so one is
enough to find it; whoever made up a share ε of its lanes passes ten audits with (1 − ε)^10."""

WEIGHTS = {"bandwidth": 2, "cpu": 1, "gpu": 3, "disk": 1, "memory": 1}
"""Kaisar's Wa … We (facts: kaisar.md, Worker_Score)."""


JOB_TIMES = (
    "window_ms",
    "commitment_slack_ms",
    "pass_window_ms",
    "pass_slack_ms",
    "chain_window_ms",
    "chain_slack_ms",
    "opening_ms",
)
"""The fields of a preset that a job's stages take, one after another."""


@dataclass(frozen=True, slots=True)
class Preset:
    """One complete set of numbers for a deployment.

    The phases of an epoch follow one another without gaps: draw, transfer, check, commit, reveal,
    bundle;
    the last one lasts to the end of the epoch, and bundles are taken for `grace_seconds` beyond
    it.
    """

    name: str
    epoch_seconds: int
    draw_ms: int
    """Time for every node to see the epoch's first block and read seed and membership."""
    check_ms: int
    """Time for the lockstep slots, one per seat."""
    commit_ms: int
    """Time to publish commitments to reports and for gossip to carry them everywhere. Whoever reads
    others' reports first comes too late to commit to a copy."""
    reveal_ms: int
    """Time to publish reports and for gossip to carry them everywhere."""
    grace_seconds: int
    """How long after its epoch a bundle is still accepted. With the bundle phase it leaves room for
    as many ranks to fail as a quorum can miss (k − q), and for the next one to succeed. At most
    one epoch, because the contract knows no older seed."""
    seats: int
    """Committee size k."""
    k: int
    """Inner size of the compute proof's products: a word of C costs 2·k operations."""
    n: int
    """Columns of B: a row of C has 4·n bytes."""
    transfer_ms: int
    """Time, before the slots, for a committee to measure its providers' lines, one by one."""
    transfer_bytes: int
    """Most that one checker and one provider send each other in each direction, a multiple of
    `transfers.PIECE_BYTES`. With a quorum of checkers at once, enough to fill the longest stage."""
    window_ms: int
    """T: how long a provider repeats rounds."""
    commitment_slack_ms: int
    """Beyond T, how long the checker waits for the commitment: round trip and last round."""
    pass_window_ms: int
    """How long a provider makes passes over what it keeps in memory."""
    pass_slack_ms: int
    """Beyond it, how long the checker waits: round trip and last pass."""
    chain_window_ms: int
    """How long a provider's cores work on chains."""
    chain_slack_ms: int
    """Beyond it, how long the checker waits: round trip and last segment."""
    opening_ms: int
    """Deadline for the openings. Rows that were skipped cannot be made up for after the
    commitment, so it only has to be long enough: for some hundred rows to be computed again and
    sent by every provider of a shard at once."""
    reference_rate: int
    """Operations per second that earn ten points of the gpu term."""
    reference_chain_rate: int
    """Iterations of chains per second that count as one core."""
    tolerance_shift: int
    """A report's lane deviates when it is off by more than median / 2^shift."""
    rank_delay_ms: int
    """Δ: rank r of a committee waits r·Δ before it sends the bundle itself. At least four blocks,
    so that the rank before can be seen in a block."""
    ring_epochs: int
    """Epochs whose scores stay on the chain: the window for claims."""
    unstake_delay_seconds: int
    """Wait between the exit and the return of a stake: longer than the ring and one epoch more, so
    that a stake is there as long as anything that it answers for can be shown."""
    min_provider_stake: int
    min_checker_stake: int
    max_stake: int
    """Stake at which the stake factor reaches its maximum of 2."""
    provider_pool: int
    """Emission to providers per epoch of the first era."""
    checker_pool: int
    """Emission to checkers per epoch of the first era."""
    era_epochs: int
    """Epochs of each step of the emission (`EMISSION_STEPS`)."""
    carry_epochs: int
    """An epoch in which nobody earned a pool leaves it to later ones, each of which takes this part
    of what has been carried so far: so that no single epoch is worth an attack."""
    ban_week_epochs: int
    """Two wrong reports within so many epochs ban a checker for `ban_month_epochs`."""
    ban_month_epochs: int
    """Five wrong reports within so many epochs ban it for `ban_half_year_epochs`."""
    ban_half_year_epochs: int
    fraud_slash_bps: int
    """Part of a provider's stake that a majority's fraud mark costs, in ten-thousandths."""
    bounty_bps: int
    """Part of what is slashed that goes to whoever brought the evidence."""
    steward_delay_seconds: int
    """Time lock: from the proposal of a parameter to the first moment in which it can count."""
    lease_fee_bps: int
    """What a lease pays into the fund of rewards on top of its price, in ten-thousandths."""
    lease_penalty_bps: int
    """Part of a lease's price that its provider leaves as a bond, in ten-thousandths."""
    lease_accept_seconds: int
    """How long a provider may take to accept a lease before anybody may give the renter its money
    back."""
    max_lease_seconds: int
    """Longest time that a lease may last with all of its extensions: what bounds locked money."""
    day_seconds: int
    """Length of ZeroNode's days, counted from the Unix epoch: points are booked, and the ledger's
    root is anchored, when one is over."""

    def __post_init__(self) -> None:
        fault = find_shape_fault(1, self.k, self.n)
        if fault:
            raise LocalError(fault)

    @property
    def epoch_ms(self) -> int:
        """Length of an epoch."""
        return self.epoch_seconds * 1000

    @property
    def bundle_ms(self) -> int:
        """What the other phases leave of the epoch for bundles."""
        return self.epoch_ms - sum(
            (self.draw_ms, self.transfer_ms, self.check_ms, self.commit_ms, self.reveal_ms)
        )

    @property
    def slot_ms(self) -> int:
        """Length of one lockstep slot."""
        return self.check_ms // self.seats

    @property
    def quorum(self) -> int:
        """Reports that a bundle needs: ⌈2k/3⌉, fixed, however few checkers are active."""
        return -(-2 * self.seats // 3)

    @property
    def job_ms(self) -> int:
        """Longest time that one job takes within its slot."""
        return sum(getattr(self, name) for name in JOB_TIMES)


def _checker_pool(epoch_seconds: int) -> int:
    return EMISSION_PER_SECOND * epoch_seconds * CHECKER_SHARE_PERCENT // 100


def _provider_pool(epoch_seconds: int) -> int:
    return EMISSION_PER_SECOND * epoch_seconds - _checker_pool(epoch_seconds)


MAINNET = Preset(
    name="mainnet",
    # An hour: at 100,000 providers all bundles together take 0.05 % of a day's gas on peaq.
    epoch_seconds=3600,
    draw_ms=60_000,
    check_ms=2_400_000,
    # Gossip crosses the network in seconds; a minute forgives a slow line.
    commit_ms=60_000,
    reveal_ms=120_000,
    grace_seconds=600,
    # With 20 % bad checkers of 100, a majority of 11 seats is bad with probability 0.75–1.2 %.
    seats=11,
    # k: a GPU makes a word of C again twenty times slower than it reads one (memory), and puts out
    # no more than it can hash. n: rows of 32 KiB, so that the openings of a job are some 3 MiB and
    # those of a whole shard a checker's 300 Mbit/s; expanding A costs a GPU a few percent. B has
    # 128 MiB, 512 as a CPU keeps it.
    k=16_384,
    n=8192,
    # Somewhat over a second for each of 256 providers.
    transfer_ms=300_000,
    # A quorum of 8 moves 1.8 Gbit/s with it in a stage of 0.875 s, above the top of the term.
    transfer_bytes=24_576_000,
    # GPU clocks settle within three seconds (facts: popw.md (e)). The slack is for round trip and
    # last round; it is short, because a device may serve one identity within the window and a
    # second one within the slack: together 1 + ln(5.75/5) = 1.14 times its rate at most.
    window_ms=5000,
    commitment_slack_ms=750,
    # At least three times a bad round trip; a GPU reads itself whole some thirty times.
    pass_window_ms=1000,
    pass_slack_ms=500,
    chain_window_ms=2000,
    chain_slack_ms=500,
    opening_ms=20_000,
    reference_rate=REFERENCE_RATE,
    reference_chain_rate=REFERENCE_CHAIN_RATE,
    tolerance_shift=2,
    rank_delay_ms=28_000,
    ring_epochs=168,
    # Twice the ring's week.
    unstake_delay_seconds=14 * 86_400,
    min_provider_stake=100 * TOKEN,
    min_checker_stake=1000 * TOKEN,
    max_stake=10_000 * TOKEN,
    provider_pool=_provider_pool(3600),
    checker_pool=_checker_pool(3600),
    # Four years of 365.25 days.
    era_epochs=4 * 8766,
    # A day.
    carry_epochs=24,
    ban_week_epochs=7 * 24,
    ban_month_epochs=30 * 24,
    ban_half_year_epochs=182 * 24,
    # Kaisar names no figure ("partially or completely forfeited"). A third: three marks, each by a
    # majority that shows the provider's own signatures, leave less than a third of the stake, and
    # already the first leaves less than the minimum of whoever staked no more than that.
    fraud_slash_bps=3333,
    # Enough to pay for the transaction many times over, too little to make it pay to be caught by
    # oneself.
    bounty_bps=1000,
    # A week to see what is coming, and to leave before it.
    steward_delay_seconds=7 * 86_400,
    # Kaisar names no figure. Five in a hundred: it pays for the checks that refunds rest on, and
    # makes it cost something to rent from oneself.
    lease_fee_bps=500,
    # A tenth of the price: more than a provider gains by leaving for a slightly better renter, and
    # little enough that a small one can leave it.
    lease_penalty_bps=1000,
    # Ten minutes, some eighty blocks: a node that is there accepts in two or three of them, once
    # the opening is final.
    lease_accept_seconds=600,
    # A quarter of a year.
    max_lease_seconds=92 * 86_400,
    day_seconds=86_400,
)

TESTNET = replace(
    MAINNET,
    name="testnet",
    epoch_seconds=600,
    draw_ms=20_000,
    transfer_ms=60_000,
    # Likewise some 500 Mbit/s, as epochs come six times as often.
    transfer_bytes=7_372_800,
    check_ms=396_000,
    commit_ms=15_000,
    reveal_ms=25_000,
    grace_seconds=60,
    # agung is tried from ordinary computers: ten points for 10 Top/s keeps their scores visible.
    reference_rate=10_000_000_000_000,
    # The ring holds 28 hours.
    unstake_delay_seconds=2 * 86_400,
    provider_pool=_provider_pool(600),
    checker_pool=_checker_pool(600),
    # Four weeks, so that a step can be seen.
    era_epochs=28 * 144,
    carry_epochs=24,
    ban_week_epochs=7 * 144,
    ban_month_epochs=30 * 144,
    ban_half_year_epochs=182 * 144,
    steward_delay_seconds=3600,
    lease_accept_seconds=300,
)

MINIMAL = replace(
    MAINNET,
    name="minimal",
    epoch_seconds=25,
    draw_ms=2_000,
    transfer_ms=1_800,
    # Eight pieces: the phase costs two shared cores some tenths of a second.
    transfer_bytes=491_520,
    check_ms=13_200,
    commit_ms=1_500,
    reveal_ms=2_000,
    grace_seconds=6,
    seats=4,
    # A CPU's share of a busy core still does tens of rounds in the window, and rows are short.
    k=2048,
    n=1024,
    # Long enough that a moment of somebody else's work on a shared core averages out.
    window_ms=1_000,
    commitment_slack_ms=500,
    pass_window_ms=150,
    pass_slack_ms=250,
    chain_window_ms=100,
    chain_slack_ms=250,
    opening_ms=700,
    # Ten points for 100 Gop/s, about one free core of the machines this was written on.
    reference_rate=100_000_000_000,
    # A busy laptop shares its cores unevenly between processes: half of the median is normal.
    tolerance_shift=1,
    # Two and a half of the devchain's one-second blocks.
    rank_delay_ms=2_500,
    ring_epochs=64,
    # The ring holds 1,600 seconds.
    unstake_delay_seconds=1_800,
    provider_pool=_provider_pool(25),
    checker_pool=_checker_pool(25),
    era_epochs=1_000,
    carry_epochs=4,
    # Short: where a dozen nodes share a busy machine's cores, an honest checker of a handful of
    # providers is now and then far off by chance. Twice in a row it hardly is.
    ban_week_epochs=2,
    ban_month_epochs=8,
    ban_half_year_epochs=48,
    steward_delay_seconds=60,
    # Two and a half of its epochs.
    lease_accept_seconds=60,
    # A minute, so that the close of a day can be seen.
    day_seconds=60,
)

PRESETS = {preset.name: preset for preset in (MAINNET, TESTNET, MINIMAL)}


def get_preset(name: str) -> Preset:
    """Look up a preset; LocalError names the ones there are."""
    try:
        return PRESETS[name]
    except KeyError:
        known = ", ".join(sorted(PRESETS))
        raise LocalError(f"preset: found {name!r}, expected one of {known}") from None


def resize_committee(preset: Preset, checkers: int) -> Preset:
    """Seat everyone in a small network: the preset with max(seats, checkers) seats, at most 11.

    Slots shrink with it, and so do the times of a job: together they take nine tenths of a slot
    at most, so that a late job does not run into the next one.
    """
    seats = min(MAINNET.seats, max(preset.seats, checkers))
    room = preset.check_ms // seats * 9 // 10
    if room >= preset.job_ms:
        return replace(preset, seats=seats)
    times = {name: getattr(preset, name) * room // preset.job_ms for name in JOB_TIMES}
    return replace(preset, seats=seats, **times)
