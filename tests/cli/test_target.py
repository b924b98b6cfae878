"""TARGET: what is said when the user's module cannot be imported."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.commands import Outcome, eventmill


def started(folder: Path, text: str, **env: str) -> Outcome:
    (folder / "broken.py").write_text("from eventmill import *\n" + text)
    data = folder / "data"
    return eventmill("run", "broken", "--data", data, "--port", "0", cwd=folder, env=env)


@pytest.mark.parametrize(
    ("text", "error", "place"),
    [
        ("x = 1 / 0\n", "ZeroDivisionError: division by zero", "broken.py:2\n    x = 1 / 0"),
        (
            "@component('My Cart')\nclass Cart(EventSourcedEntity): ...\n",
            "component id 'My Cart': use 1 to",
            "broken.py:2\n    @component('My Cart')",
        ),
        (
            "class Made(Event):\n    n: int\nt = Topic('t', Made, key='m')\n",
            "Made has no field 'm' to be its key",
            "broken.py:4\n    t = Topic('t', Made, key='m')",
        ),
        ("def f(:\n", "SyntaxError: invalid syntax", "broken.py:2\n    def f(:"),
        ("import sys\nsys.exit('bye')\n", "SystemExit: bye", "broken.py:3\n    sys.exit('bye')"),
        (
            "import nowhere_at_all\n",
            "No module named 'nowhere_at_all'",
            "broken.py:2\n    import nowhere_at_all",
        ),
    ],
)
def test_an_import_that_fails_names_the_users_line(
    tmp_path: Path, text: str, error: str, place: str
) -> None:
    refused = started(tmp_path, text)
    assert refused.code == 1
    assert error in refused.err
    assert refused.err.endswith(f"  {place}\n")
    assert "Traceback" not in refused.err


def test_the_whole_traceback_is_shown_when_asked_for(tmp_path: Path) -> None:
    refused = started(tmp_path, "x = 1 / 0\n", EVENTMILL_TRACEBACK="1")
    assert "Traceback" in refused.err
    assert "target.py" in refused.err
    assert "Error: module 'broken' cannot be imported" in refused.err


MADE = "from eventmill import Service\nservice = Service('bakery', components=[])\n"


@pytest.mark.parametrize(
    ("target", "advice"),
    [
        (
            ":service",
            "names no module: write module:variable; here is bakery:service, house.ovens:",
        ),
        ("bakery.service", "is no module, but a Service in one: use bakery:service"),
        ("house:ovens", "house:ovens is no Service, it is a module: use house.ovens"),
        ("house", "house:service is no Service; it defines no Service; here is bakery:service"),
        ("baker", "name the service as module:variable; here is bakery:service"),
        ("bakery.py", "not a file: use bakery:service"),
        ("./house/ovens.py:oven", "not a file: use house.ovens:oven"),
        (".", "names a module, not a file, and there is no .; here is bakery:service"),
        ("house/oven.py", "there is no house/oven.py; here is"),
        ("../x/shop.py:service", "cd ../x, then use shop:service"),
        ("../x/inner/deep.py", "cd ../x, then use inner.deep:service"),
    ],
)
def test_what_could_be_meant_is_named(tmp_path: Path, target: str, advice: str) -> None:
    here, other = tmp_path / "here", tmp_path / "x"
    for folder in (here / "house", other / "inner"):
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text("")
    (here / "bakery.py").write_text(MADE)
    (here / "house" / "__init__.py").write_text("from house import ovens\n")
    (here / "house" / "ovens.py").write_text(MADE.replace("service =", "oven: Service ="))
    (other / "shop.py").write_text(MADE)
    (other / "inner" / "deep.py").write_text(MADE)
    refused = eventmill("check", target, cwd=here)
    assert refused.code == 1
    assert advice in refused.err
