"""Finding a runner, again where there is none, and now and then whether it still works."""

import logging
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

import trio

from p2p_node.rental.runner import NoRunnerError, Runner

logger = logging.getLogger(__name__)

RETRY_SECONDS: Final = 60.0
"""Until a runner that was not there is looked for again: a Docker that starts after the node."""

CHECK_SECONDS: Final = 1800.0
"""Between two looks whether it still works; none while somebody is here, who would say."""

ChooseRunner = Callable[[Path, str], Runner]
"""`choosing.choose_runner`: NoRunnerError with the reason."""


class RunnerFinder:
    """The runner of a node, or why there is none since when (Trio's clock).

    `get_wanted` names the one that is needed now, None for none; `is_idle` tells whether it may be
    tried. `changed` is another event after each look.
    """

    def __init__(
        self,
        data_dir: Path,
        choose: ChooseRunner,
        get_wanted: Callable[[], str | None],
        is_idle: Callable[[], bool],
    ) -> None:
        self.runner: Runner | None = None
        self.problem = ""
        self.missing_since = 0.0
        self.changed = trio.Event()
        self._data_dir = data_dir
        self._choose = choose
        self._get_wanted = get_wanted
        self._is_idle = is_idle

    @property
    def is_unknown(self) -> bool:
        """Whether none was looked for yet."""
        return self.runner is None and not self.problem

    async def watch(self) -> None:
        """Look again and again, as long as one is needed."""
        while self._get_wanted() is not None:
            await trio.sleep(RETRY_SECONDS if self.runner is None else CHECK_SECONDS)
            if self.runner is None or self._is_idle():
                await self.find()

    async def find(self) -> None:
        """Look once, if one is needed."""
        wanted = self._get_wanted()
        if wanted is None:
            return
        try:
            found = await trio.to_thread.run_sync(
                self._choose, self._data_dir, wanted, abandon_on_cancel=True
            )
        except (NoRunnerError, OSError, subprocess.SubprocessError) as error:
            # A host that has no process or file left for the trial may have some later.
            self._note_missing(str(error))
        else:
            if self.runner is None:
                for note in found.notes:
                    logger.info("renting with %s: %s", found.name, note)
            self.runner, self.problem = found, ""
        self.changed.set()
        self.changed = trio.Event()

    def _note_missing(self, problem: str) -> None:
        if not self.problem:
            self.missing_since = trio.current_time()
        if problem != self.problem:
            logger.warning("this machine cannot be rented out: %s", problem)
        self.runner, self.problem = None, problem
