"""The examples of `docs/testing.md` run as they stand there."""

from __future__ import annotations

import asyncio
import inspect
import re
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[3] / "docs" / "testing.md"


def test_every_example_on_the_page_passes() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    tests = [name for name in names if name.startswith("test_")]
    assert len(tests) == 6
    for name in tests:
        outcome = names[name]()
        if inspect.iscoroutine(outcome):
            asyncio.run(outcome)
