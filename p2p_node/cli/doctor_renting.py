"""What `kaisar doctor` looks at for renting: can a workload be isolated on this host?"""

import tempfile
from collections.abc import Callable
from pathlib import Path

from p2p_node.rental.choosing import choose_runner
from p2p_node.rental.runner import NoRunnerError, Runner
from p2p_node.rental.templates import TemplatesError, read_templates
from p2p_node.workloads.self_check import Finding, Mark

_GUIDE = "see docs/isolation.md"


def check_renting(data_dir: Path, choose: Callable[[Path, str], Runner] = choose_runner) -> Finding:
    """Try it: an empty enclosure is made in a directory of its own and removed."""
    try:
        templates = read_templates(data_dir)
    except TemplatesError as error:
        return Finding(
            "renting", Mark.FAIL, str(error), "renters choose among these templates", _GUIDE
        )
    with tempfile.TemporaryDirectory(prefix="kaisar-doctor-") as place:
        try:
            runner = choose(Path(place), "auto")
        except NoRunnerError as error:
            return Finding(
                "renting",
                Mark.ABSENT,
                str(error),
                "a provider without isolation rents nothing out; all else works",
                f"apt-get install bubblewrap; {_GUIDE}",
            )
    served = [name for name, each in templates.items() if runner.refusal(each) is None]
    found = f"{runner.name}, templates {', '.join(served) or 'none'}"
    if not served:
        return Finding("renting", Mark.WARN, found, "there is nothing to begin with", _GUIDE)
    if runner.notes:
        return Finding("renting", Mark.WARN, found, "; ".join(runner.notes), _GUIDE)
    return Finding("renting", Mark.OK, found)
