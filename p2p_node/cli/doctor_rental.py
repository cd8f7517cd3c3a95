"""What `kaisar doctor` looks at for renting the machine out."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from p2p_node.rental.choosing import choose_runner
from p2p_node.rental.offering import choose_limits
from p2p_node.rental.runner import NoRunnerError, Runner
from p2p_node.rental.settings import RentalSettings
from p2p_node.rental.templates import read_templates
from p2p_node.workloads.self_check import GB, Finding, Mark
from protocols.errors import LocalError


def check_rental(
    settings: Mapping[str, Any], choose: Callable[[Path, str], Runner] = choose_runner
) -> Iterator[Finding]:
    """Can renters be kept apart from this host, and given what the settings say?

    Tries the runner in a directory of its own. Without a price nothing here is a failure.
    """
    bad = Mark.FAIL if settings["rental_price"] else Mark.ABSENT
    with tempfile.TemporaryDirectory() as directory:
        try:
            runner = choose(Path(directory), settings["rental_runner"])
        except NoRunnerError as error:
            yield Finding("renting", bad, "no runner", str(error), "see docs/providing.md")
            return
        notes = "; ".join(runner.notes)
        yield Finding("renting", Mark.OK, f"{runner.name}{f' ({notes})' if notes else ''}")
        try:
            templates = read_templates(settings["data_dir"], settings["rental_templates"])
            limits = choose_limits(_read_share(settings), settings["data_dir"])
        except LocalError as error:
            yield Finding("offer", bad, str(error), "the machine is not offered", "set it right")
            return
    served = [name for name, each in templates.items() if runner.refusal(each) is None]
    if not served:
        reason = "; ".join(sorted({str(runner.refusal(each)) for each in templates.values()}))
        yield Finding("offer", bad, "no template can be served", reason, "change the templates")
        return
    yield Finding(
        "offer",
        Mark.OK,
        f"{limits.cores} cores, {limits.memory_bytes / GB:.1f} GB, templates {', '.join(served)}",
    )


def _read_share(settings: Mapping[str, Any]) -> RentalSettings:
    memory = settings["rental_memory"]
    return RentalSettings(
        cores=settings["rental_cores"], memory_bytes=None if memory is None else memory * 10**6
    )
