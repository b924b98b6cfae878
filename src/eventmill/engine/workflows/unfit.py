"""What of a workflow's progress a definition cannot go on with. Pure.

Off the road: asked of stored workflows before code is deployed (`eventmill check --data`). The runner
finds out at each step for itself, and the workflow is stuck.
"""

from __future__ import annotations

from collections.abc import Iterator

from eventmill.errors import InvalidPayload
from eventmill.model.definition import WorkflowDefinition
from eventmill.model.progress import FINAL, Planned, Progress, Run, Status, Undo


def unfit(definition: WorkflowDefinition, progress: Progress) -> Iterator[str]:
    """Say what is planned, or could be undone, that this code does not have or cannot read.

    Of a workflow that has ended nothing is; one that has failed may be tried again.
    """
    if progress.status in FINAL and progress.status is not Status.FAILED:
        return
    for planned in _planned(progress):
        step = definition.steps.get(planned.step)
        if step is None:
            yield f"step {planned.step!r} is not there any more"
            continue
        try:
            step.handler.decode_arguments(bytes(planned.input))
        except InvalidPayload as error:
            yield f"step {planned.step!r} does not take what was planned: {error.message}"
    wait = progress.wait
    if wait is None:
        return
    for name in filter(None, (wait.then, wait.on_timeout)):
        if name not in definition.steps:
            yield f"step {name!r} is not there any more"
    if wait.source and wait.source not in definition.sources:
        yield f"it waits for {wait.source!r}, which is not in waits_on any more"


def _planned(progress: Progress) -> Iterator[Run | Planned | Undo]:
    yield from progress.runs
    yield from progress.undo
    if progress.problem is not None:
        yield from progress.problem.runs
    if progress.after_undo is not None:
        yield progress.after_undo
    if progress.join is not None:
        yield progress.join.then
