"""The command line itself: fast help, completion, exit codes of wrong usage."""

from __future__ import annotations

import subprocess
import sys

import pytest

from eventmill.cli.main import COMMANDS, run
from tests.cli.commands import eventmill


def test_help_imports_nothing_that_it_does_not_need() -> None:
    program = (
        "import sys\n"
        "from eventmill.cli.main import run\n"
        "assert run(['--help']) == 0\n"
        "heavy = {'granian', 'rich', 'apsw', 'starlette', 'sqlglot', 'aiohttp', 'structlog'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in COMMANDS)


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    for name in COMMANDS:
        assert run([name, "--help"]) == 0
        assert f"Usage: eventmill {name}" in capsys.readouterr().out


def test_wrong_usage_exits_with_2() -> None:
    for arguments in (["entitis"], ["entities", "lst"], ["run"], ["entities", "list", "-x"]):
        refused = eventmill(*arguments)
        assert refused.code == 2
        assert "Error: " in refused.err
    assert "There is new, run, dev, check" in eventmill("entitis").err


def test_no_node_exits_with_3() -> None:
    refused = eventmill("entities", "list", "--data", "/nowhere/at/all")
    assert refused.code == 3
    assert "start one with `eventmill run`" in refused.err


def test_completion() -> None:
    for shell in ("bash", "zsh", "fish"):
        assert "_EVENTMILL_COMPLETE" in eventmill("completion", shell).out
    words = {"COMP_WORDS": "eventmill enti", "COMP_CWORD": "1"}
    found = eventmill(env={"_EVENTMILL_COMPLETE": "bash_complete", **words})
    assert found.out == "plain,entities\n"
