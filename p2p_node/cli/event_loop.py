"""How every command runs its asynchronous part, so that Ctrl-C always ends it."""

from collections.abc import Awaitable, Callable
from typing import TypeVar, TypeVarTuple

import trio

Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")


def run_async(work: Callable[[*Arguments], Awaitable[Result]], *arguments: *Arguments) -> Result:
    """Run `work` under Trio; Ctrl-C raises KeyboardInterrupt at its next checkpoint.

    Trio's default raises it wherever the interpreter happens to be. In a callback of a weak
    reference, or of the garbage collector, the interpreter prints such an error and goes on: the
    Ctrl-C is lost. What blocks without a checkpoint, a prompt above all, belongs outside `work`.
    """
    return trio.run(work, *arguments, restrict_keyboard_interrupt_to_checkpoints=True)
