"""The contract of `ports.store.ViewTables`: rows change only in commits, queries never write."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from eventmill.errors import Conflict, DeadlineExceeded, EventmillError, RequestError
from eventmill.model import limits
from eventmill.model.commit import Offset, Rows
from eventmill.model.table import Affinity, PhysicalTable, TableIndex
from eventmill.ports.store import Found, Store
from eventmill.testing.contract.harness import SHARD, Harness, put

COLUMNS = (("items", Affinity.INTEGER), ("note", Affinity.TEXT))
CARTS = PhysicalTable("carts_1", COLUMNS, (TableIndex("carts_1_items", ("items",)),))
ALL = {
    "sqlite": "SELECT json_group_array(json_array(_key, items, note)) FROM carts_1",
    "postgres": "SELECT coalesce(json_agg(json_build_array(_key, items, note)), '[]') FROM carts_1",
}
KEYS = {
    "sqlite": "SELECT json_group_array(_key) FROM carts_1 WHERE ",
    "postgres": "SELECT coalesce(json_agg(_key), '[]') FROM carts_1 WHERE ",
}
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


async def ask(store: Store, text: Mapping[str, str], where: str = "", **parameters: Any) -> Any:
    sql = text[store.views.dialect] + where
    return json.loads(await store.views.query(sql, parameters, seconds=10))


class ViewContract(Harness):
    """Tables of views."""

    async def test_rows_are_put_replaced_and_deleted(self, store: Store) -> None:
        await store.views.prepare([CARTS])
        rows = [("c1", 1, "a"), ("c2", 2, None), ("ä", 3, "☃")]
        await put(store, rows=[Rows("carts_1", rows, [])])
        await put(store, rows=[Rows("carts_1", [("c1", 5, "b")], ["c2", "unknown"])])
        assert sorted(await ask(store, ALL)) == [["c1", 5, "b"], ["ä", 3, "☃"]]

    async def test_current_rows_of_keys(self, store: Store) -> None:
        await store.views.prepare([CARTS])
        await put(store, rows=[Rows("carts_1", [("c1", 1, "a"), ("c2", 2, None)], [])])
        found = await store.views.rows("carts_1", ["c2", "unknown", "c1"])
        assert found == Found([("c2", 2, None), ("c1", 1, "a")], 3)
        assert await store.views.rows("carts_1", ["unknown"]) == Found([], 1)
        assert await store.views.rows("carts_1", []) == Found([], 0)

    async def test_no_more_rows_are_read_when_their_bytes_are_enough(self, store: Store) -> None:
        await store.views.prepare([CARTS])
        large = "x" * limits.PAYLOAD_BYTES_MAX
        portion = limits.SCAN_BYTES_MAX // limits.PAYLOAD_BYTES_MAX
        keys = [f"c{n}" for n in range(portion + 2)]
        await put(store, rows=[Rows("carts_1", [(key, 1, large) for key in keys], [])])
        rows, looked = await store.views.rows("carts_1", ["unknown", *reversed(keys), "other"])
        assert [row[0] for row in rows] == [*reversed(keys)][:portion]
        assert looked == 1 + portion

    async def test_like_tells_upper_from_lower_case(self, store: Store) -> None:
        await store.views.prepare([CARTS])
        await put(store, rows=[Rows("carts_1", [("c1", 1, "Ada"), ("c2", 2, "ada")], [])])
        assert await ask(store, KEYS, "note LIKE :prefix", prefix="A%") == ["c1"]

    async def test_rows_and_offset_are_one_commit(self, store: Store) -> None:
        await store.views.prepare([CARTS])
        changes = [Rows("carts_1", [("c1", 1, "a")], [])]
        with pytest.raises(Conflict):
            await put(store, rows=changes, offsets=[Offset("view", SHARD, 7, 8)])
        assert await ask(store, ALL) == []
        await put(store, rows=changes, offsets=[Offset("view", SHARD, 0, 8)])
        assert await ask(store, ALL) == [["c1", 1, "a"]]

    async def test_a_commit_whose_rows_cannot_be_written_changes_nothing(
        self, store: Store
    ) -> None:
        await store.views.prepare([CARTS])
        changes = [Rows("carts_1", [("c1", 1, "a")], []), Rows("no_such_table", [("x", 1)], [])]
        with pytest.raises(EventmillError):
            await put(store, rows=changes, offsets=[Offset("view", SHARD, 0, 8)])
        assert await ask(store, ALL) == []
        assert await store.offsets() == {}
        await put(store, rows=changes[:1], offsets=[Offset("view", SHARD, 0, 8)])
        assert await ask(store, ALL) == [["c1", 1, "a"]]

    async def test_preparing_again_keeps_the_rows(self, store: Store, tmp_path: Path) -> None:
        await store.views.prepare([CARTS])
        await put(store, rows=[Rows("carts_1", [("c1", 1, "a")], [])])
        await store.views.prepare([CARTS])
        await store.close()
        again = await self.reopen(store, tmp_path)
        await again.views.prepare([CARTS])
        assert await ask(again, ALL) == [["c1", 1, "a"]]
        await again.close()

    async def test_a_dropped_table_is_gone(self, store: Store) -> None:
        await store.views.prepare([CARTS])
        await put(store, rows=[Rows("carts_1", [("c1", 1, "a")], [])])
        await store.views.drop(["carts_1", "unknown"])
        with pytest.raises(RequestError):
            await ask(store, ALL)
        await store.views.prepare([CARTS])
        assert await ask(store, ALL) == []

    async def test_indexes_become_those_that_are_asked_for(self, store: Store) -> None:
        await store.views.prepare([CARTS])
        await put(store, rows=[Rows("carts_1", [("c1", 1, "a")], [])])
        both = (TableIndex("carts_1_note", ("note", "items")), *CARTS.indexes)
        for indexes in (both, both[:1], (), both):
            await store.views.prepare([PhysicalTable("carts_1", COLUMNS, indexes)])
            assert await ask(store, ALL) == [["c1", 1, "a"]]

    async def test_columns_keep_what_their_affinity_holds(self, store: Store) -> None:
        columns = tuple(("c_" + affinity, affinity) for affinity in Affinity)
        await store.views.prepare([PhysicalTable("kinds", columns)])
        rows = [("a", 2**53 + 1, 0.1, "1"), ("b", None, None, None)]
        await put(store, rows=[Rows("kinds", rows, [])])
        assert (await store.views.rows("kinds", ["a", "b"])).rows == rows

    async def test_a_query_takes_parameters(self, store: Store) -> None:
        await store.views.prepare([CARTS])
        await put(store, rows=[Rows("carts_1", [("c1", 1, "a"), ("c2", 2, "it's")], [])])
        where = "items > :least AND note = :note"
        assert await ask(store, KEYS, where, least=1, note="it's") == ["c2"]

    @pytest.mark.parametrize(
        "sql",
        [
            "DELETE FROM carts_1 RETURNING _key",
            "INSERT INTO carts_1 VALUES ('c9', 1, '') RETURNING _key",
            "DROP TABLE carts_1",
            "SELECT nonsense",
            "not even SQL",
            "SELECT 1 WHERE 0",
            "SELECT 1, 2",
            "BEGIN",
            "ROLLBACK",
            "ATTACH ':memory:' AS other",
            "PRAGMA query_only = OFF",
            "PRAGMA journal_mode = DELETE",
            "VACUUM INTO 'copy.db'",
            "CREATE TEMP TABLE other (x)",
            "SELECT load_extension('x')",
            "SELECT length(zeroblob(2000000000))",
            "SELECT length(printf('%2000000000d', 1))",
        ],
        ids=lambda sql: sql[:40],
    )
    async def test_a_query_cannot_write_and_a_bad_one_is_refused(
        self, store: Store, sql: str
    ) -> None:
        await store.views.prepare([CARTS])
        await put(store, rows=[Rows("carts_1", [("c1", 1, "a")], [])])
        with pytest.raises(RequestError):
            await store.views.query(sql, {}, seconds=10)
        assert await ask(store, ALL) == [["c1", 1, "a"]]
        await put(store, rows=[Rows("carts_1", [("c1", 2, "b")], [])])
        assert await ask(store, ALL) == [["c1", 2, "b"]]

    async def test_a_query_that_runs_too_long_is_interrupted(self, store: Store) -> None:
        await store.views.prepare([CARTS])
        with pytest.raises(DeadlineExceeded):
            await store.views.query(ENDLESS, {}, seconds=0.05)
        assert await ask(store, ALL) == []
