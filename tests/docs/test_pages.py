"""Every Python block of the documentation runs, and the tests in it pass.

The blocks of one page are one program, in their order, as a reader would type them. Functions that
take a `url` are called with that of a node that runs the shopping cart.
"""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from types import CodeType, ModuleType

import pytest

from eventmill.node.config import NodeConfig
from eventmill.node.node import Node
from examples.shopping_cart.shop import service as cart_service

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
PAGES = sorted(
    page for page in (ROOT / "README.md", *ROOT.glob("docs/*.md")) if BLOCK.search(page.read_text())
)


def program_of(page: Path) -> list[CodeType]:
    """Compile the blocks; blank lines in front make a traceback name the line of the page."""
    text = page.read_text()
    return [
        compile("\n" * text[: block.start(1)].count("\n") + block[1], str(page), "exec")
        for block in BLOCK.finditer(text)
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
async def test_code_runs(page: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    module = ModuleType(f"docs_{page.stem}")
    for name in (module.__name__, "shop"):  # what the README calls its file
        monkeypatch.setitem(sys.modules, name, module)
    for code in program_of(page):
        exec(code, vars(module))
    own = [v for v in vars(module).values() if getattr(v, "__module__", "") == module.__name__]
    functions = [value for value in own if inspect.isfunction(value)]
    tests = [function for function in functions if function.__name__.startswith("test_")]
    clients = [f for f in functions if list(inspect.signature(f).parameters) == ["url"]]
    for test in tests:
        outcome = test()
        if inspect.isawaitable(outcome):
            await outcome
    if clients:
        node = Node(cart_service, NodeConfig(data=tmp_path, port=0))
        await node.start()
        try:
            for client in clients:
                await client(node.url)
        finally:
            await node.stop()
    assert tests or clients, f"{page.name} shows code but nothing that runs it"


def test_links_lead_somewhere() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")]
    missing = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
        if not (page.parent / target).exists()
    ]
    assert not missing
