"""One job as a checker would give it, given by the host to itself.

The same stages in the same order with the same verifier; what is missing is the way between two
machines. So times are a little shorter than a checker's.
"""

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import trio

from p2p_node.workloads.backend import DeviceInfo
from p2p_node.workloads.core_chains import ChainWork
from p2p_node.workloads.core_worker import CoreWorker
from p2p_node.workloads.device_group import DeviceGroup, GroupWork
from protocols.chains import ChainJob, derive_iterations, draw_segments, verify_segments
from protocols.compute import Shape, derive_b_seed
from protocols.freivalds import prepare_check
from protocols.host_proof import DeviceWork, HostJob, draw_request, verify_host
from protocols.measurement import Assessment, Measurement, assess
from protocols.memory import PassCommitment
from protocols.params import Preset

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class HostFigures:
    """What a host showed itself, all of it verified."""

    devices: tuple[DeviceInfo, ...]
    works: tuple[DeviceWork, ...]
    passes: tuple[PassCommitment | None, ...]
    dropped: Mapping[int, str]
    """Why a device did not take part, or made no passes."""
    work_us: int
    pass_us: int
    chain_us: int
    chains: int
    assessment: Assessment
    verify_ms: float
    """All openings, chains included: what a checker pays."""
    job_bytes: int
    """Openings of compute and memory proof."""


async def measure_host(
    group: DeviceGroup, cores: CoreWorker | None, preset: Preset, report: Report
) -> HostFigures:
    """Do and verify one job; `report` is told what goes on.

    Raises ProofRejected when a proof does not hold, and what `DeviceGroup.work` and
    `CoreWorker.run` raise. Takes the preset's windows, and on a CPU some seconds to prepare.
    """
    b_seed = derive_b_seed(secrets.token_bytes(32), preset.k, preset.n)
    report("preparing the devices")
    await group.prepare(b_seed, preset.k, preset.n)
    report("preparing the verifier")
    check = await trio.to_thread.run_sync(
        prepare_check, b_seed, Shape(1, preset.k, preset.n), secrets.token_bytes(32)
    )
    nonce, pass_nonce, provider = (secrets.token_bytes(32) for _ in range(3))
    job = HostJob(b_seed, nonce, pass_nonce, provider)
    report(f"computing, {_seconds(preset.window_ms)}")
    started = time.perf_counter()
    async with group.work(
        b_seed=b_seed,
        k=preset.k,
        n=preset.n,
        nonce=nonce,
        provider=provider,
        window_s=preset.window_ms / 1000,
        limit_s=(preset.window_ms + preset.commitment_slack_ms // 2) / 1000,
    ) as work:
        work_us = _microseconds_since(started)
        works = work.list_works()
        report(f"reading what is kept, {_seconds(preset.pass_window_ms)}")
        started = time.perf_counter()
        passes = await _make_passes(work, works, pass_nonce, preset)
        pass_us = _microseconds_since(started)
        chain_job, chain_work, chain_us = await _run_chains(cores, provider, preset, report)
        report("opening and verifying")
        request = draw_request(secrets.token_bytes(32), works, passes)
        rows, paths = await work.open_request(works, request)
    started = time.perf_counter()
    verify = partial(verify_host, check, job, works, passes, request, rows, paths)
    await trio.to_thread.run_sync(verify)
    if chain_work is not None and chain_job is not None:
        await trio.to_thread.run_sync(_verify_chains, chain_job, chain_work)
        chain_work.close()
    verify_ms = (time.perf_counter() - started) * 1e3
    chains = chain_work.commitments if chain_work is not None else ()
    measured = Measurement(works, work_us, passes, pass_us, chains, chain_us)
    return HostFigures(
        devices=group.describe(),
        works=works,
        passes=passes,
        dropped={device: str(error) for device, error in work.dropped.items()},
        work_us=work_us,
        pass_us=pass_us,
        chain_us=chain_us,
        chains=len(chains),
        assessment=assess(measured, preset),
        verify_ms=verify_ms,
        job_bytes=sum(map(len, (*rows, *paths))),
    )


async def _make_passes(
    work: GroupWork, works: tuple[DeviceWork, ...], nonce: bytes, preset: Preset
) -> tuple[PassCommitment | None, ...]:
    made = await work.run_passes(
        nonce,
        window_s=preset.pass_window_ms / 1000,
        limit_s=(preset.pass_window_ms + preset.pass_slack_ms // 2) / 1000,
    )
    return tuple(made.get(each.device) for each in works)


async def _run_chains(
    cores: CoreWorker | None, provider: bytes, preset: Preset, report: Report
) -> tuple[ChainJob | None, ChainWork | None, int]:
    if cores is None:
        return None, None, 0
    report(f"running chains, {_seconds(preset.chain_window_ms)}")
    iterations = derive_iterations(preset.reference_chain_rate, preset.chain_window_ms)
    job = ChainJob(secrets.token_bytes(32), secrets.token_bytes(32), provider, iterations)
    started = time.perf_counter()
    work = await cores.run(
        job,
        window_s=preset.chain_window_ms / 1000,
        limit_s=(preset.chain_window_ms + preset.chain_slack_ms // 2) / 1000,
    )
    return job, work, _microseconds_since(started)


def _verify_chains(job: ChainJob, work: ChainWork) -> None:
    indices = draw_segments(secrets.token_bytes(32), work.commitments)
    verify_segments(job, work.commitments, indices, work.open(indices))


def _microseconds_since(started: float) -> int:
    return max(1, int((time.perf_counter() - started) * 1e6))


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds / 1000:g} s"
