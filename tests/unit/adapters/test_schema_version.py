"""A file of another version is refused with the way out, and stays as it is."""

from __future__ import annotations

import io
from pathlib import Path

import apsw
import pytest

from eventmill.adapters.sqlite import archive
from eventmill.adapters.sqlite.store import Store
from eventmill.errors import ConfigurationError


async def test_a_file_of_another_schema_is_refused_with_what_to_do(tmp_path: Path) -> None:
    store = Store(tmp_path)
    await store.open()
    await store.close()
    db = apsw.Connection(str(tmp_path / "eventmill.db"))
    db.execute("PRAGMA user_version = 1")
    db.close()
    advice = r"schema version 1.* export it with the version .* wrote it .* then import"
    with pytest.raises(ConfigurationError, match=advice):
        await Store(tmp_path).open()
    with pytest.raises(ConfigurationError, match=advice):
        archive.export(tmp_path, io.BytesIO(), lambda *_: None)
