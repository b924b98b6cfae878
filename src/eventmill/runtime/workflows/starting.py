"""Starting the workflows of a node: what runs their steps, and what finds those that wait.

Place on the road: at the start of the runtime, beside consumers and views.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from eventmill.runtime.workflows import waiting
from eventmill.runtime.workflows.attempts import Attempts
from eventmill.runtime.workflows.looking_back import LookBack
from eventmill.runtime.workflows.runner import Runner

if TYPE_CHECKING:
    from eventmill.runtime.runtime import Runtime


def runner_of(runtime: Runtime, luck: Callable[[], float]) -> Runner | None:
    """Make what runs the steps of workflows; None if the service has none."""
    if not any(entity.workflow for entity in runtime.service.entities.values()):
        return None
    clock = runtime.clock
    attempts = Attempts(runtime, clock, luck, guarded=runtime.guarded)
    runner = Runner(
        runtime.entities,
        runtime.store,
        runtime.committer,
        clock,
        attempts,
        LookBack(runtime.store, runtime.tails),
        runtime.held,
    )
    runtime.scheduler.on_due = runner.rows.see_to
    return runner


async def start(runtime: Runtime, runner: Runner) -> None:
    """Let every workflow go on where it was."""
    await waiting.subscribe(runtime, runner.look_back)
    runtime.supervisor.start("workflows", runner.run())
    runtime.supervisor.start("holding", runner.holding.run())
