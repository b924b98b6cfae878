"""Starting what every service has of dispatch: the courier, its consumers and its actions.

Place on the road: at the start of the runtime, in front of views and transforms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventmill.runtime.dispatch import courier
from eventmill.runtime.dispatch.action import ActionReaction
from eventmill.runtime.dispatch.consumer import ConsumerReaction

if TYPE_CHECKING:
    from eventmill.runtime.runtime import Runtime


async def start(runtime: Runtime) -> None:
    """Let each go on where it was."""
    service, store = runtime.service, runtime.store
    clock, room, guarded = runtime.clock, runtime.room, runtime.guarded
    subscribe = runtime.roster.subscribe
    replicas = None if runtime.replication is None else runtime.replication.replicas
    deliver = courier.Courier(runtime.entities, runtime.execute, store, service.actions, replicas)
    await subscribe(courier.NAME, deliver)
    for consumer in service.consumers.values():
        reaction = ConsumerReaction(consumer, runtime, store, clock, room, guarded=guarded)
        await subscribe(consumer.subscription, reaction, consumer.start)
    for id, action in service.actions.items():
        reaction = ActionReaction(action, runtime, store, clock, room, guarded=guarded)
        await subscribe(id, reaction)
