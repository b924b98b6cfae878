"""Messages of another service: each belongs to one home here, whatever shards the two have."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmill.engine.adopting import adopter
from eventmill.engine.messages import Arrived, malformed
from eventmill.model import limits
from eventmill.model.entry import Entry, metadata_of
from eventmill.model.placement import Placement, overlapping

shards = st.integers(1, 64)


def there(key: str, partitions: int, **fields: object) -> Entry:
    """A message as it lies in the other service's topic, which is its second one."""
    shard = 2 * partitions + Placement(partitions).entity(key)
    made = Entry("orders", key, 0, "Placed", 1, 5, b"{}", None, "1:4", shard, 9)
    return msgspec.structs.replace(made, **fields)


@given(shards, shards, st.text(max_size=8))
def test_a_message_has_one_home_among_those_that_read_its_partition(
    here: int, partitions: int, key: str
) -> None:
    entry = there(key, partitions)
    takers = [h for h in range(here) if adopter("shop", 3 * here + h, here, partitions)(entry)]
    assert takers == [Placement(here).entity(key)]
    assert entry.shard % partitions in overlapping(takers[0], here, partitions)


@given(shards, shards, st.data())
def test_what_is_no_event_has_one_home_among_those_that_read_its_partition(
    here: int, partitions: int, data: st.DataObject
) -> None:
    partition = data.draw(st.integers(0, partitions - 1))
    entry = malformed(Arrived("orders", 2 * partitions + partition, 9, 5, b"", b"?"), "no event")
    takers = [h for h in range(here) if adopter("shop", 3 * here + h, here, partitions)(entry)]
    assert len(takers) == 1
    assert partition in overlapping(takers[0], here, partitions)


@given(shards, shards)
def test_homes_overlap_with_all_partitions_and_with_no_more_than_they_must(
    here: int, partitions: int
) -> None:
    pairs = {(h, p) for h in range(here) for p in overlapping(h, here, partitions)}
    by_slice = {
        (s * here // limits.SLICES, s * partitions // limits.SLICES) for s in range(limits.SLICES)
    }
    assert pairs == by_slice


def test_an_outbox_that_is_parted_is_told_apart() -> None:
    for here, partitions, origin in ((16, 16, "1:4"), (4, 16, "1:4"), (16, 4, "~1:4")):
        home = Placement(here).entity("k")
        adopted = adopter("shop", home, here, partitions)(there("k", partitions))
        assert adopted is not None
        assert adopted.origin == origin


@pytest.mark.parametrize("metadata", [None, b"{}", b'{"correlation":"x"}', b'{"$id":"1:1","a":1}'])
def test_its_id_has_the_services_name_in_front(metadata: bytes | None) -> None:
    entry = there("k", 1, metadata=metadata)
    adopted = adopter("shop", 3, 1, 1)(entry)
    assert adopted is not None
    assert adopted.id == f"shop/{entry.id}"
    assert metadata_of(adopted) == metadata_of(entry)
    assert (adopted.source, adopted.shard, adopted.position) == ("shop/orders", 3, 9)
    assert adopted.origin == "1:4"
    assert entry.source == "orders", "readers share it"
