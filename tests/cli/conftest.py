from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.commands import RunningNode


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    """One node for a module's tests, each with entities of its own; `broken` breaks its auditor."""
    folder = tmp_path_factory.mktemp("node")
    with RunningNode(folder / "data", env={"WALLET_BROKEN": str(folder / "broken")}) as running:
        yield running
        assert running.stop() == 0


@pytest.fixture
def broken(node: RunningNode) -> Iterator[Path]:
    """The auditor fails on amount 13 as long as this file exists."""
    file = node.data.parent / "broken"
    file.touch()
    yield file
    file.unlink(missing_ok=True)


@pytest.fixture
def cluster_data(tmp_path: Path) -> Iterator[Path]:
    """Where a cluster keeps its data; gone afterwards, also where its server's files really are."""
    folder = tmp_path / "cluster"
    yield folder
    shutil.rmtree((folder / "postgres").resolve(), ignore_errors=True)
