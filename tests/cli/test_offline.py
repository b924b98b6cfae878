"""Working on a data directory: export, import, doctor."""

from __future__ import annotations

import gzip
import hashlib
import shutil
from pathlib import Path
from urllib.parse import quote

import pytest

from eventmill.testing.postgres import Server
from tests.cli.commands import RunningNode, eventmill


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory that holds something of every kind."""
    folder = tmp_path_factory.mktemp("stored")
    data, broken = folder / "data", folder / "broken"
    broken.touch()
    with RunningNode(data, env={"WALLET_BROKEN": str(broken)}) as node:
        for account, amounts in {"a": [1] * 120, "b": [13, 14], "c/ü": [5]}.items():
            for amount in amounts:
                node.post(
                    f"/components/account/{quote(account, safe='')}/deposit", {"amount": amount}
                )
        node.json("entities", "call", "account", "a", "remind")
        node.json(
            "entities", "call", "account", "a", "deposit", "amount=1", "--idempotency-key", "once"
        )
        node.json("entities", "call", "account", "b", "withdraw", "amount=5")
        node.until(("dead-letters", "list"), lambda rows: len(rows) == 2)
        node.settled()
        node.json("consumers", "pause", "mover")
        assert node.stop() == 0
    return data


def test_what_is_imported_is_what_was_exported(stored: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first.ndjson", tmp_path / "second.ndjson.gz"
    exported = eventmill("export", first, "--data", stored)
    assert exported.code == 0
    assert "Exported" in exported.err
    lines = first.read_text().splitlines()
    kinds = {line.split('"')[3] for line in lines}
    assert kinds == {
        *("eventmill", "entry", "snapshot", "outcome", "timer", "offset", "letter", "fact"),
        *("table", "row", "end"),
    }

    assert eventmill("import", first, "--data", tmp_path / "copy").code == 0
    assert eventmill("export", second, "--data", tmp_path / "copy").code == 0
    assert gzip.decompress(second.read_bytes()) == first.read_bytes()
    assert eventmill("import", second, "--data", tmp_path / "again").code == 0


def test_an_imported_directory_runs_on_where_the_other_stood(stored: Path, tmp_path: Path) -> None:
    exported = eventmill("export", "-", "--data", stored)
    assert eventmill("import", "-", "--data", tmp_path / "copy", stdin=exported.out).code == 0

    with RunningNode(tmp_path / "copy") as node:
        assert node.json("entities", "get", "account", "a")["state"] == {"balance": 121}
        call = ("entities", "call", "account", "a", "deposit", "amount=1")
        assert node.json(*call, "--idempotency-key", "once") == 121
        assert node.json(*call) == 122
        rows = node.json("views", "query", "balances", "at_least", "minimum=5")
        assert [row["account"] for row in rows] == ["a", "b", "c/ü"]
        assert [timer["name"] for timer in node.json("timers", "list")] == ["remind-a"]
        states = {row["name"]: row["paused"] for row in node.json("consumers", "list")}
        assert [name for name, paused in states.items() if paused] == ["mover"]

        assert node.json("dead-letters", "redrive", "auditor", "--all") == {"redriven": 1}
        node.until(("dead-letters", "list", "auditor", "--status", "all"), lambda rows: not rows)
        assert node.stop() == 0


async def test_a_data_directory_moves_to_postgresql_and_back(
    stored: Path, tmp_path: Path, postgres: Server
) -> None:
    await postgres.execute("DROP DATABASE IF EXISTS moved WITH (FORCE)")
    await postgres.execute("CREATE DATABASE moved")
    file, url = tmp_path / "file.ndjson.gz", postgres.dsn("moved")
    assert eventmill("export", file, "--data", stored).code == 0
    done = eventmill("import", file, "--store", url, "--shards", "4")
    assert (done.code, "into PostgreSQL" in done.err) == (0, True)
    again = eventmill("import", file, "--store", url)
    assert (again.code, "holds a store already" in again.err) == (1, True)
    assert "postgresql://" in eventmill("export", "-", "--store", "mysql://x").err

    assert eventmill("export", file, "--store", url, "--force").code == 0
    assert eventmill("import", file, "--data", tmp_path / "back").code == 0
    with RunningNode(tmp_path / "back") as node:
        assert node.json("entities", "get", "account", "a")["state"] == {"balance": 121}
        assert [timer["name"] for timer in node.json("timers", "list")] == ["remind-a"]
        assert len(node.json("dead-letters", "list")) == 2
        assert node.stop() == 0


def test_an_export_beside_a_running_node(tmp_path: Path) -> None:
    with RunningNode(tmp_path / "data") as node:
        node.json("entities", "call", "account", "x", "deposit", "amount=1")
        exported = eventmill("export", "-", "--data", node.data)
        assert exported.code == 0
        assert '"Deposited"' in exported.out
        assert node.stop() == 0


def test_bad_files_leave_no_store(stored: Path, tmp_path: Path) -> None:
    whole = eventmill("export", "-", "--data", stored).out
    lines = whole.splitlines(keepends=True)
    for text, message in {
        "".join(lines[:-1]): "the file is torn",
        whole.replace('"amount":14', '"amount":15'): "the file was changed",
        "{}\n": "line 1 is no line of an export",
        whole.replace('"format":1', '"format":9'): "no export of format 1",
        "": "the file is torn",
    }.items():
        refused = eventmill("import", "-", "--data", tmp_path / "copy", stdin=text)
        assert refused.code == 1
        assert message in refused.err
        assert not (tmp_path / "copy").exists()


def test_a_made_up_file_does_not_reach_the_stores_own_tables(tmp_path: Path) -> None:
    lines = (
        '{"kind":"eventmill","format":1,"schema":2,"entries":0}\n'
        '{"kind":"table","table":{"name":"registry","columns":[]}}\n'
        '{"kind":"row","table":"registry","values":["paused/x","1"]}\n'
    )
    digest = hashlib.sha256(lines.encode()).hexdigest()
    whole = lines + f'{{"kind":"end","lines":3,"digest":"{digest}"}}\n'
    refused = eventmill("import", "-", "--data", tmp_path / "copy", stdin=whole)
    assert refused.code == 1
    assert "'registry' is the store's own" in refused.err


def test_nothing_is_overwritten(stored: Path, tmp_path: Path) -> None:
    file = tmp_path / "file.ndjson"
    file.write_text("mine")
    assert "exists" in eventmill("export", file, "--data", stored).err
    assert file.read_text() == "mine"
    assert eventmill("export", file, "--data", stored, "--force").code == 0

    taken = eventmill("import", file, "--data", stored)
    assert taken.code == 1
    assert "holds a store already" in taken.err
    assert "holds no store" in eventmill("export", "-", "--data", tmp_path).err
    assert "cannot be read" in eventmill("import", tmp_path / "none", "--data", tmp_path).err


def test_the_doctor(stored: Path, tmp_path: Path) -> None:
    findings = eventmill("doctor", "--data", stored, "--thorough", "--output", "json").json()
    statuses = {finding["name"]: finding["status"] for finding in findings}
    assert dict.fromkeys(("sqlite", "schema", "integrity", "lock", "node"), "ok").items() <= (
        statuses.items()
    )
    healthy = eventmill("doctor", "--data", stored)
    assert "held by" not in healthy.out
    assert "ok    schema      version 2" in healthy.out

    shutil.copytree(stored, tmp_path / "data")
    file = tmp_path / "data" / "eventmill.db"
    page = bytearray(file.read_bytes())
    page[4096 * 3 : 4096 * 12] = b"\xa5" * (4096 * 9)
    file.write_bytes(page)
    sick = eventmill("doctor", "--data", tmp_path / "data")
    assert sick.code == 1
    assert "FAIL" in sick.out

    file.write_bytes(b"this is no database at all " * 1_000)
    assert "FAIL  data file" in eventmill("doctor", "--data", tmp_path / "data").out
    assert eventmill("doctor", "--data", tmp_path / "new").code == 0


def test_the_doctor_knows_the_nodes_own_port(tmp_path: Path) -> None:
    def port(data: Path, number: str) -> tuple[str, str]:
        findings = eventmill("doctor", "--data", data, "--port", number, "--output", "json").json()
        (found,) = [finding for finding in findings if finding["name"] == "port"]
        return found["status"], found["text"]

    with RunningNode(tmp_path / "data") as node:
        own = node.url.rpartition(":")[2]
        assert port(node.data, own) == ("ok", f"{own} is that of the node that runs on {node.data}")
        status, text = port(tmp_path / "other", own)
        assert status == "warn"
        assert "taken by something else" in text
        assert node.stop() == 0
