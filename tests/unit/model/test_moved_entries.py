"""An entry keeps its id wherever it is moved, and gets a new one when it is written anew."""

from __future__ import annotations

import pytest

from eventmill.model.entry import Entry, metadata_of, moved, renewed


@pytest.mark.parametrize("metadata", [None, b"{}", b'{"causation":"0:3","a":{"$id":"x"}}'])
def test_a_moved_entry_keeps_its_id_and_metadata(metadata: bytes | None) -> None:
    entry = Entry("shop", "s", 1, "Sold", 1, 7, b"1", metadata, None, 0, 17)
    away = moved(entry, 5, 17)
    assert (away.shard, away.position, away.id) == (5, 17, "0:17")
    assert metadata_of(away) == metadata_of(entry)
    further = moved(away, 0, 99)
    assert further.id == "0:17"
    assert moved(further, 0, 17) == Entry(
        *("shop", "s", 1, "Sold", 1, 7, b"1"), None if metadata == b"{}" else metadata, None, 0, 17
    )


def test_one_that_is_written_anew_has_an_id_of_its_own() -> None:
    entry = moved(Entry("shop", "s", 0, "Sold", 1, 7, b"1", b'{"a":1}', None, 0, 17), 5, 17)
    again = renewed(entry, 8)
    again.position = 40
    assert (again.id, again.time, again.metadata) == ("5:40", 8, b'{"a":1}')
