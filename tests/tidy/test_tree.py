"""The rules of CONTRIBUTING that a linter does not know: sizes, names, the index of decisions."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70
VAGUE_NAMES = {"base", "common", "helper", "helpers", "manager", "misc", "util", "utils"}


def sources() -> Iterator[tuple[Path, str]]:
    files = sorted((ROOT / "src" / "eventmill").rglob("*.py"))
    assert files
    for path in files:
        yield path.relative_to(ROOT), path.read_text()


def test_files_stay_small() -> None:
    too_long = [
        f"{path}: {n}" for path, text in sources() if (n := text.count("\n")) > FILE_LINES_MAX
    ]
    assert too_long == [], "split by concept, or delete"


def test_functions_stay_small() -> None:
    too_long = [
        f"{path}:{node.lineno} {node.name}: {length}"
        for path, text in sources()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES_MAX
    ]
    assert too_long == [], "keep the branching in the parent, move what computes into leaves"


def test_no_file_has_a_vague_name() -> None:
    assert [str(path) for path, _ in sources() if path.stem in VAGUE_NAMES] == []


def test_every_decision_is_in_the_index() -> None:
    folder = ROOT / "docs" / "adr"
    pages = {path.name for path in folder.glob("[0-9]*.md")} - {"0000-template.md"}
    listed = set(re.findall(r"\]\((\d{4}-[a-z0-9-]+\.md)\)", (folder / "README.md").read_text()))
    assert listed - {"0000-template.md"} == pages
