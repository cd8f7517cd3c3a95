"""`kaisar bench`: what this machine would score, and why, term by term."""

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import trio

from p2p_node.cli.event_loop import run_async
from p2p_node.cli.main import Subparsers, add_json_flag
from p2p_node.config import ConfigError, add_flags, load_settings
from p2p_node.display import format_fields, format_table, show_json, show_lines
from p2p_node.workloads.core_chains import CoreChains
from p2p_node.workloads.core_worker import CoreWorker
from p2p_node.workloads.device_group import DeviceGroup
from p2p_node.workloads.devices import open_devices, parse_devices
from p2p_node.workloads.host_bench import HostFigures, measure_host
from p2p_node.workloads.reservation import LOCK_FILE, Reservation
from protocols.params import PRESETS, WEIGHTS, Preset, get_preset
from protocols.scoring import MILLI, compute_score

MAX_SECONDS = 600

_PATIENCE_SECONDS = 10
"""Beyond the longest job, how long a provider's node beside this one may keep its devices."""

_NOT_MEASURED_HERE = "not measured here: checkers measure it, several at once"
_NOT_PROVED = "no proof of disks in this version, so nothing is paid for them"


def add_parser(subparsers: Subparsers) -> None:
    """Add the command's flags."""
    parser = subparsers.add_parser(
        "bench",
        help="measure what this machine would score as a provider",
        description=(
            "Give this machine one job as a checker would, verify its proof, and show what it "
            "is worth, term by term. A provider that runs on the same data directory answers "
            "'busy' meanwhile."
        ),
    )
    add_json_flag(parser)
    parser.add_argument(
        "--preset",
        default="mainnet",
        metavar="NAME",
        help=f"whose sizes and references: {', '.join(sorted(PRESETS))} (mainnet)",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        metavar="S",
        help="how long the devices compute (as long as the preset's jobs)",
    )
    add_flags(parser, ("data_dir", "devices", "cpu_threads", "cpu_memory", "cores"))


def run(arguments: argparse.Namespace) -> int:
    """Measure, and show it."""
    settings = load_settings(arguments, os.environ)
    preset = _choose_preset(arguments)
    progress = _Progress()
    try:
        figures = run_async(_measure, settings, preset, progress.show)
    finally:
        progress.end()
    score = _compute_score(figures, preset)
    if arguments.json:
        show_json(_to_json(figures, preset, score))
    else:
        show_lines(_format(figures, preset, score))
    return 0


class _Progress:
    """What goes on, on standard error: one line that changes on a terminal, else a line each."""

    def __init__(self) -> None:
        self._rewrites = sys.stderr.isatty()

    def show(self, text: str) -> None:
        if self._rewrites:
            print(f"\r\x1b[K{text} …", end="", file=sys.stderr, flush=True)
        else:
            print(text, file=sys.stderr, flush=True)

    def end(self) -> None:
        if self._rewrites:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _choose_preset(arguments: argparse.Namespace) -> Preset:
    if arguments.preset not in PRESETS:
        raise ConfigError(
            f"preset: found {arguments.preset!r}, expected one of {', '.join(sorted(PRESETS))}"
        )
    preset = get_preset(arguments.preset)
    seconds = arguments.seconds
    if seconds is None:
        return preset
    if not 0 < seconds <= MAX_SECONDS:
        raise ConfigError(
            f"seconds: found {seconds:g}, expected more than 0, at most {MAX_SECONDS}"
        )
    return replace(preset, window_ms=max(1, round(1000 * seconds)))


async def _measure(
    settings: dict[str, Any], preset: Preset, report: Callable[[str], None]
) -> HostFigures:
    data_dir: Path = settings["data_dir"]
    # Where there is no data directory there is no node beside this.
    reservation = Reservation(data_dir / LOCK_FILE if data_dir.is_dir() else None)
    try:
        report("waiting until the devices are free")
        patience = preset.job_ms / 1000 + _PATIENCE_SECONDS
        async with reservation.reserve("kaisar bench", patience):
            return await _measure_reserved(settings, preset, report)
    finally:
        reservation.close()


async def _measure_reserved(
    settings: dict[str, Any], preset: Preset, report: Callable[[str], None]
) -> HostFigures:
    report("looking for devices")
    open_all = partial(
        open_devices,
        parse_devices(settings["devices"]),
        cpu_threads=settings["cpu_threads"],
        cpu_memory_bytes=settings["cpu_memory"] * 1_000_000,
    )
    group = DeviceGroup(await trio.to_thread.run_sync(open_all))
    cores = None if settings["cores"] == 0 else CoreChains(settings["cores"])
    try:
        return await measure_host(group, CoreWorker(cores) if cores else None, preset, report)
    finally:
        await group.close()
        if cores:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(cores.close)


def _compute_score(figures: HostFigures, preset: Preset) -> int:
    return compute_score(
        uptime=MILLI, validity=MILLI, stake=0, terms=figures.assessment.terms, preset=preset
    )


def _explain(figures: HostFigures, preset: Preset) -> dict[str, str]:
    """Why each term is what it is."""
    shown = figures.assessment
    kept = sum(work.kept_bytes for work in figures.works)
    passes = [each.passes for each in figures.passes if each]
    memory = "nothing is kept" if not kept else "no passes were made"
    if passes:
        memory = (
            f"{shown.memory_bytes / 1e9:.3g} GB credited of {kept / 1e9:.3g} GB kept and read "
            f"{min(passes)} times in {figures.pass_us / 1e6:.3g} s"
        )
    return {
        "bandwidth": _NOT_MEASURED_HERE,
        "cpu": (
            f"{shown.chain_rate / preset.reference_chain_rate:.3g} cores, shown by "
            f"{figures.chains} chains"
            if figures.chains
            else "no cores are offered"
        ),
        "gpu": (
            f"{shown.rate / 1e12:.4g} Tera-operations/s; {preset.reference_rate / 1e12:.4g} "
            "earn ten points"
        ),
        "disk": _NOT_PROVED,
        "memory": memory,
    }


def _format(figures: HostFigures, preset: Preset, score: int) -> list[str]:
    devices = [
        [
            work.device,
            figures.devices[work.device].name,
            work.shape.m,
            work.commitment.rounds,
            f"{work.operations / figures.work_us / 1e6:.4g}",
            f"{work.kept_bytes / 1e6:.4g}",
            passes.passes if passes else "none",
        ]
        for work, passes in zip(figures.works, figures.passes, strict=True)
    ]
    reasons, terms = _explain(figures, preset), figures.assessment.terms
    rows = [
        [
            name,
            f"{terms.get(name, 0) / MILLI:.3f}",
            weight,
            f"{100 * weight * terms.get(name, 0) / MILLI:.1f}",
            reasons[name],
        ]
        for name, weight in WEIGHTS.items()
    ]
    lines = format_table(["device", "name", "m", "rounds", "Top/s", "kept MB", "passes"], devices)
    lines += [f"device {number} dropped out: {why}" for number, why in figures.dropped.items()]
    lines += ["", *format_table(["term", "points", "weight", "score", "why"], rows), ""]
    return lines + format_fields(
        {
            "score": f"{score}, without bandwidth, at full uptime, with no stake",
            "stake": "factor 1, up to 2 with the most stake",
            "preset": f"{preset.name}, {preset.window_ms / 1000:g} s of computing",
            "verified": f"on this machine in {figures.verify_ms:.3g} ms, "
            f"{figures.job_bytes / 1e6:.3g} MB of openings",
        }
    )


def _to_json(figures: HostFigures, preset: Preset, score: int) -> dict[str, Any]:
    shown, reasons = figures.assessment, _explain(figures, preset)
    return {
        "preset": preset.name,
        "window_ms": preset.window_ms,
        "score": score,
        "stake_factor": 1,
        "terms": {
            name: {
                "thousandths": shown.terms.get(name, 0),
                "weight": weight,
                "measured": name in ("cpu", "gpu", "memory"),
                "why": reasons[name],
            }
            for name, weight in WEIGHTS.items()
        },
        "rate": shown.rate,
        "memory_bytes": shown.memory_bytes,
        "chain_rate": shown.chain_rate,
        "devices": [
            {
                "device": work.device,
                "kind": figures.devices[work.device].kind.value,
                "name": figures.devices[work.device].name,
                "software": figures.devices[work.device].backend,
                "m": work.shape.m,
                "rounds": work.commitment.rounds,
                "kept_bytes": work.kept_bytes,
                "passes": passes.passes if passes else 0,
            }
            for work, passes in zip(figures.works, figures.passes, strict=True)
        ],
        "dropped": {str(number): why for number, why in figures.dropped.items()},
        "work_us": figures.work_us,
        "pass_us": figures.pass_us,
        "chain_us": figures.chain_us,
        "verify_ms": round(figures.verify_ms, 3),
        "job_bytes": figures.job_bytes,
    }
