"""The public API is typed end to end: right calls pass, each wrong one is an error, in mypy and
pyright alike."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from shutil import copytree

import pytest
from mypy import api as mypy

ROOT = Path(__file__).parents[2]
CASES = Path("tests/typing/cases")
RIGHT, WRONG = CASES / "right.py", CASES / "wrong.py"


def marked_lines() -> set[int]:
    lines = (ROOT / WRONG).read_text().splitlines()
    return {number for number, line in enumerate(lines, 1) if "# wrong" in line}


@pytest.fixture(scope="module")
def mypy_errors() -> dict[Path, dict[int, str]]:
    # Its own cache, because the project's may be in use by another run; it begins as a copy of it.
    project = ROOT / ".mypy_cache"
    cache = project / "typing-tests"
    if not cache.exists():
        for known in project.glob("3.*"):
            copytree(known, cache / known.name, dirs_exist_ok=True)
    out, problems, _ = mypy.run(
        [f"--cache-dir={cache}", "--no-error-summary", str(RIGHT), str(WRONG)]
    )
    assert problems == ""
    found: dict[Path, dict[int, str]] = {RIGHT: {}, WRONG: {}}
    for line in out.splitlines():
        match = re.match(r"(\S+?):(\d+): error: (.*)", line)
        if match and Path(match[1]) in found:
            found[Path(match[1])][int(match[2])] = match[3]
    return found


@pytest.fixture(scope="module")
def pyright_errors() -> dict[Path, dict[int, str]]:
    run = subprocess.run(
        [sys.executable, "-m", "pyright", "--outputjson", str(RIGHT), str(WRONG)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    found: dict[Path, dict[int, str]] = {RIGHT: {}, WRONG: {}}
    for problem in json.loads(run.stdout)["generalDiagnostics"]:
        path = Path(problem["file"]).relative_to(ROOT)
        if problem["severity"] == "error":
            found[path][problem["range"]["start"]["line"] + 1] = problem["message"]
    return found


def test_mypy_finds_nothing_wrong_with_right_calls(
    mypy_errors: dict[Path, dict[int, str]],
) -> None:
    assert mypy_errors[RIGHT] == {}


def test_mypy_finds_every_wrong_call(mypy_errors: dict[Path, dict[int, str]]) -> None:
    assert set(mypy_errors[WRONG]) == marked_lines(), mypy_errors[WRONG]


def test_pyright_finds_nothing_wrong_with_right_calls(
    pyright_errors: dict[Path, dict[int, str]],
) -> None:
    assert pyright_errors[RIGHT] == {}


def test_pyright_finds_every_wrong_call(pyright_errors: dict[Path, dict[int, str]]) -> None:
    assert set(pyright_errors[WRONG]) == marked_lines(), pyright_errors[WRONG]
