"""A version's physical tables: names of their own, columns and indexes for a store to make."""

from __future__ import annotations

from dataclasses import replace

from eventmill.engine.views.definition import CompiledView
from eventmill.engine.views.indexes import derive_indexes
from eventmill.engine.views.placement import names_on, tables_on
from eventmill.model.table import Affinity

from .conftest import TABLES, Shop


def view(shop: Shop) -> CompiledView:
    query = shop.compile("SELECT * FROM carts WHERE state = 'open'", list[dict[str, int]])
    return CompiledView("shop", TABLES, {"q": query}, derive_indexes([query]), "")


def test_no_two_views_or_versions_share_a_table(shop: Shop) -> None:
    one = view(shop)
    views = [one, *(replace(one, id=id) for id in ("shop.a", "shop-a", "shop_a", "shop_carts"))]
    names = [name for v in views for version in (1, 11) for name in names_on(v, version).values()]
    assert len(set(names)) == len(names) == 20
    assert all(name.startswith("v_") for name in names)


def test_tables_have_the_columns_of_the_rows_and_the_indexes_of_the_queries(shop: Shop) -> None:
    carts, customers = tables_on(view(shop), 3)
    assert dict(carts.columns)["items"] is Affinity.INTEGER
    assert dict(carts.columns)["total"] is Affinity.REAL
    assert dict(carts.columns)["opened"] is Affinity.TEXT
    assert [name for name, _ in carts.columns] == [c.name for c in TABLES["carts"].columns]
    assert [index.columns for index in carts.indexes] == [("state",)]
    assert carts.indexes[0].name.startswith(carts.name)
    assert customers.indexes == ()
