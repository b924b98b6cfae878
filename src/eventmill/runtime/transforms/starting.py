"""Starting the transforms of a node: their tables, then their subscriptions.

Place on the road: at the start of the runtime, beside consumers and views.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventmill.model.transform import Joining
from eventmill.runtime.transforms.rows import tables_of
from eventmill.runtime.transforms.transformer import Transformer

if TYPE_CHECKING:
    from eventmill.model.transform import TransformDefinition
    from eventmill.runtime.runtime import Runtime


async def start(runtime: Runtime) -> None:
    """Let every transform of the service go on where it was."""
    offsets = await runtime.store.offsets() if runtime.service.transforms else {}
    known = {name for name, _ in offsets}
    for definition in runtime.service.transforms.values():
        await _start(runtime, definition, is_known=definition.id in known)


async def _start(runtime: Runtime, definition: TransformDefinition, *, is_known: bool) -> None:
    store = runtime.store
    if definition.stage is not None:
        await store.views.prepare(tables_of(definition.id))
    # In several shards other nodes write rows, too.
    is_new = not is_known and store.placement.shards == 1
    transformer = Transformer(definition, store, runtime.clock, runtime.room, is_new=is_new)
    subscription = await runtime.roster.subscribe(definition.id, transformer, definition.start)
    transformer.is_read = lambda shard: (
        subscription.positions.get(shard, -1) >= subscription.tails.end(shard)
    )
    if isinstance(definition.stage, Joining):
        # What a window was closed without is late, and so told; an event of a join would meet nobody.
        transformer.is_parked = subscription.blocked.__contains__
