"""The public names: a user's code breaks when one goes, so none goes unnoticed."""

from __future__ import annotations

import eventmill
from eventmill import testing

PUBLIC = """
    Client ConfigurationError Conflict Context Deleted Effect EntityDeleted Event
    EventSourcedEntity EventmillError InvalidPayload KeyValueEntity NotFound Overloaded Page Record
    Rejected RequestContext Retry ServerSentEvent Service ServiceStream StepContext Topic Unavailable View WHEN_READ
    Workflow WorkflowEnded WorkflowMoved branch cancel command component consumer downcast endpoint event_type ignore on publish query
    schedule scheduled send step stream timed upcast
    CounterMap Flag GCounter GSet LWWRegister MVRegister MultiMap ORMap ORSet PNCounter RegisterMap ReplicatedEntity Vote
"""

TESTING = """
    ActionKit Called ConsumerKit Effects EndpointKit EntityKit FaultyStore Host Published ReplicasKit Result Scheduled Sent
    TopicProbe TransformKit ViewKit VirtualClock WorkflowKit
"""


def test_the_package_offers_exactly_these_names() -> None:
    assert sorted(eventmill.__all__) == sorted(PUBLIC.split())


def test_the_test_kit_offers_exactly_these_names() -> None:
    assert sorted(testing.__all__) == sorted(TESTING.split())


def test_every_public_name_exists_and_says_what_it_is() -> None:
    for module in (eventmill, testing):
        for name in module.__all__:
            thing = getattr(module, name)
            assert thing.__doc__, f"{module.__name__}.{name} has no docstring"
