"""The public test kit: unit kits, an in-process host with a virtual clock, the store contract.

    EntityKit     one entity: run a command, look at events, reply, state
    ReplicasKit   one replicated entity on several nodes: exchange, part and heal by hand
    ConsumerKit   one consumer: give it an event, look at its effects
    ActionKit     one action: call it as a timer would, look at its effects
    EndpointKit   a service's own routes: send a request, look at the answer
    ViewKit       one view: feed events, read rows
    TransformKit  one transform: feed events, look at what it publishes
    Host          a whole service in process, on a memory store, the clock in the test's hand
    WorkflowKit   one workflow: run a step alone, or all of it on a clock of its own
    FaultyStore   a store whose commits fail when the test says so
    contract      the suite that every store adapter passes (imported by itself: it needs pytest)

`docs/testing.md` has an example of each.
"""

from eventmill.testing.action import ActionKit
from eventmill.testing.calls import Called
from eventmill.testing.clock import VirtualClock
from eventmill.testing.consumer import ConsumerKit
from eventmill.testing.endpoint import EndpointKit
from eventmill.testing.entity import EntityKit, Result
from eventmill.testing.faults import FaultyStore
from eventmill.testing.host import Host
from eventmill.testing.outgoing import Published, Scheduled, Sent
from eventmill.testing.probe import TopicProbe
from eventmill.testing.reacting import Effects
from eventmill.testing.replicas import ReplicasKit
from eventmill.testing.transform import TransformKit
from eventmill.testing.view import ViewKit
from eventmill.testing.workflow import WorkflowKit

__all__ = [
    "ActionKit",
    "Called",
    "ConsumerKit",
    "Effects",
    "EndpointKit",
    "EntityKit",
    "FaultyStore",
    "Host",
    "Published",
    "ReplicasKit",
    "Result",
    "Scheduled",
    "Sent",
    "TopicProbe",
    "TransformKit",
    "ViewKit",
    "VirtualClock",
    "WorkflowKit",
]
