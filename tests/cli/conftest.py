from __future__ import annotations

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
