"""`eventmill new`: what it creates works."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.commands import RunningNode, eventmill

ROOT = Path(__file__).parents[2]


def test_a_new_project_passes_its_tests_and_runs(tmp_path: Path) -> None:
    created = eventmill("new", "my-shop", cwd=tmp_path)
    assert created.code == 0
    assert "eventmill run my_shop.service --reload" in created.out
    project = tmp_path / "my-shop"
    text = "".join(file.read_text() for file in project.rglob("*") if file.is_file())
    assert "PACKAGE_NAME" not in text
    assert "PROJECT_NAME" not in text
    assert (project / ".gitignore").exists()

    tests = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert tests.returncode == 0, tests.stdout
    assert "4 passed" in tests.stdout

    # What it knows of the libraries is kept from one run of this test to the next.
    cache = f"--cache-dir={ROOT / '.mypy_cache' / 'new-project-tests'}"
    types = subprocess.run(
        [sys.executable, "-m", "mypy", cache],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert types.returncode == 0, types.stdout + types.stderr

    checked = eventmill("check", "my_shop.service", cwd=project)
    assert "Pure: 3 connections, nothing but events." in checked.out
    with RunningNode(tmp_path / "d", "--guards", target="my_shop.service", cwd=project) as node:
        assert node.post("/components/item/tea/receive", {"quantity": 5}) == 5
        node.settled()
        rows = node.json("views", "query", "stock", "below", "limit=9")
        assert rows == [{"item": "tea", "quantity": 5}]
        assert node.stop() == 0

    again = eventmill("new", "my-shop", cwd=tmp_path)
    assert again.code == 1
    assert "is not empty" in again.err


@pytest.mark.parametrize("name", ["Shop", "1shop", "a b", "../x", "json", "class", "tests", "a--b"])
def test_names_that_cannot_be(name: str, tmp_path: Path) -> None:
    refused = eventmill("new", name, cwd=tmp_path)
    assert refused.code == 2
    assert list(tmp_path.iterdir()) == []
