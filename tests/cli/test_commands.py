"""Every command that asks a node: once for people, once as JSON."""

from __future__ import annotations

import json
from pathlib import Path

from eventmill.model import limits
from tests.cli.commands import RunningNode, eventmill


def test_entities(node: RunningNode) -> None:
    called = node.run("entities", "call", "account", "e1", "deposit", "amount=5")
    assert called.out == "5\n"
    assert node.json("entities", "call", "account", "e1", "deposit", '{"amount": 2}') == 7
    once = ("entities", "call", "account", "e1", "deposit", "-", "--idempotency-key", "k")
    assert node.run(*once, stdin='{"amount": 1}').out == "8\n"
    assert node.run(*once, stdin='{"amount": 1}').out == "8\n"
    assert node.json("entities", "call", "account", "e1", "current") == 8

    kinds = {row["id"]: row for row in node.json("entities", "list")}
    assert kinds["account"]["commands"] == ["deposit", "withdraw", "remind", "rename", "close"]
    assert kinds["statistics"]["kind"] == "key-value entity"
    assert "event-sourced entity" in node.run("entities", "list").out
    node.json("entities", "call", "account", "e2", "deposit", "amount=1")
    node.json("entities", "call", "account", "e2", "close")
    listed = node.json("entities", "list", "account")
    assert {"id": "e1", "sequence": 3, "deleted": False} in listed
    assert {"id": "e2", "sequence": 2, "deleted": True} in listed
    table = node.run("entities", "list", "account").out.splitlines()
    assert ["e2", "2", "yes"] in [row.split() for row in table]

    now = node.json("entities", "get", "account", "e1")
    assert (now["sequence"], now["state"], now["deleted"]) == (3, {"balance": 8}, False)
    beyond = node.run("entities", "get", "account", "e1", "--sequence", "4")
    assert beyond.err == "Error: account/e1 has no sequence 4; its last is 3 [entity.no_sequence]\n"
    first = node.json("entities", "get", "account", "e1", "--sequence", "1")
    assert first["state"] == {"balance": 5}
    assert node.json("entities", "get", "account", "e1", "--time", now["time"]) == now
    assert '{"balance": 8}' in node.run("entities", "get", "account", "e1").out

    events = node.json("entities", "events", "account", "e1", "--after", "1")
    assert [(e["sequence"], e["type"], e["data"]) for e in events] == [
        (2, "Deposited", {"amount": 2}),
        (3, "Deposited", {"amount": 1}),
    ]
    assert "Deposited" in node.run("entities", "events", "account", "e1", "--metadata").out


def test_the_past_of_an_entity(node: RunningNode) -> None:
    for amount in (5, 2, 1):
        node.json("entities", "call", "account", "past", "deposit", f"amount={amount}")
    current = ("entities", "call", "account", "past", "current")
    assert node.json(*current, "--sequence", "2") == 7
    now = node.json("entities", "get", "account", "past")["time"]
    assert node.json(*current, "--time", now) == 8
    command = ("entities", "call", "account", "past", "deposit", "amount=1", "--sequence", "2")
    assert "nobody can change the past" in node.run(*command).err

    diff = ("entities", "diff", "account", "past")
    found = node.json(*diff, "--from", "1", "--to", "2")
    assert (found["from"]["sequence"], found["to"]["sequence"], found["whole"]) == (1, 2, True)
    assert found["differences"] == [{"path": "/balance", "before": 5, "after": 7}]
    shown = node.run(*diff, "--from", "2").out.splitlines()
    assert shown[0].startswith("from 2 (20")
    assert shown[1].startswith("to   3 (20")
    assert [line.split() for line in shown[3:] if line.startswith("/")] == [["/balance", "7", "8"]]
    assert "The states are the same." in node.run(*diff, "--from", "3", "--to", now).out
    assert "no sequence 9" in node.run(*diff, "--from", "9").err
    assert "a time with its zone" in node.run(*diff, "--from", "yesterday").err
    assert node.run("entities", "diff", "statistics", "x", "--from", "1").code == 1


def test_what_is_followed(node: RunningNode) -> None:
    node.json("entities", "call", "account", "f", "deposit", "amount=5")
    following = {
        ("entities", "events", "account", "f", "--follow", "--output", "json"): '"amount": 5',
        ("entities", "events", "account", "f", "-f"): 'Deposited  {"amount": 5}',
        ("entities", "call", "account", "f", "current", "-f"): "5",
    }
    for arguments, first in following.items():
        assert first in node.first_line(*arguments)
    assert "nothing" in node.run("views", "query", "nothing", "x", "-f").err
    refused = node.run("entities", "call", "account", "f", "deposit", "amount=5", "-f")
    assert "[request.method]" in refused.err


def test_an_id_may_hold_any_character(node: RunningNode) -> None:
    strange = "a/b?c=d&é %2F#"
    assert node.json("entities", "call", "account", strange, "deposit", "amount=1") == 1
    assert node.json("entities", "get", "account", strange)["id"] == strange
    assert node.json("entities", "events", "account", strange)[0]["subject"] == strange


def test_refusals_are_one_clear_line(node: RunningNode) -> None:
    for arguments, message in {
        ("entities", "call", "account", "r", "withdraw", "amount=1"): (
            "Error: the balance is too low [account.low]\n"
        ),
        ("entities", "call", "account", "r", "deposit", "amount=x"): "Expected `int`, got `str`",
        ("entities", "call", "account", "r", "vanish"): "no command or query 'vanish'; there is",
        ("entities", "get", "account", "nobody"): "Error: account/nobody has no events",
        ("entities", "list", "acount"): "no entity component 'acount'; there is account",
        ("topics", "tail", "news"): "no topic 'news'; there is moves",
        ("consumers", "pause", "nobody"): "no subscription 'nobody'; there is $courier",
        ("views", "rebuild", "nothing"): "no view 'nothing'; there is balances",
        ("dead-letters", "show", "x"): "'x' is no letter's id",
        ("dead-letters", "show", "auditor:0:1"): "no letter 'auditor:0:1'",
    }.items():
        refused = node.run(*arguments)
        assert refused.code == 1, refused
        assert message in refused.err, refused
        assert refused.out == ""


def test_topics(node: RunningNode) -> None:
    (topic,) = node.json("topics", "list")
    assert (topic["id"], topic["types"]) == ("moves", ["Moved", "Noted"])
    table = node.run("topics", "list").out
    assert "moves" in table
    assert table.splitlines()[0].endswith("end position")
    assert topic["keeping"] == {"retention": "7 days", "bytes_max": None, "replicas": None}
    assert "7 days" in table
    assert "7 days" in node.run("services", "describe", "wallet").out

    event = {"account": "t1", "amount": 3}
    text = json.dumps(event)
    assert node.run("topics", "publish", "moves", text, "--type", "Moved").out == (
        "Published 1 event to moves.\n"
    )
    published = ("topics", "publish", "moves", "-", "--type", "Noted", "--output", "json")
    assert node.run(*published, stdin='{"text": "x"}').json() == {"published": 1}
    assert "name the type" in node.run("topics", "publish", "moves", text).err
    assert "not 'Other'" in node.run("topics", "publish", "moves", text, "--type", "Other").err

    lines = node.run("topics", "tail", "moves", "-n", "2", "--output", "json").out.splitlines()
    moved, noted = (json.loads(line) for line in lines)
    assert (moved["type"], moved["subject"], moved["data"]) == ("Moved", "t1", event)
    assert (noted["type"], noted["data"]) == ("Noted", {"text": "x"})
    before = str(int(moved["id"].partition(":")[2]) - 1)
    shown = node.run("topics", "tail", "moves", "--from", before, "-n", "1").out
    assert shown.count("\n") == 1
    assert "t1  Moved" in shown


def test_a_text_that_looks_like_json_needs_its_quotes(node: RunningNode) -> None:
    call = ("entities", "call", "account", "named", "rename")
    refused = node.run(*call, "to=5")
    assert "needs its quotes: a='\"5\"'" in refused.err
    assert node.json(*call, 'to="5"') == "5"


def test_events_are_published_from_files_and_pipes(node: RunningNode, tmp_path: Path) -> None:
    def published(*what: str, stdin: str = "") -> list[str]:
        line = ("topics", "publish", "moves", *what, "--type", "Noted", "--key", "k")
        answer = node.run(*line, "--output", "json", stdin=stdin).json()
        count = str(answer["published"])
        out = node.run("topics", "tail", "moves", "-n", count, "--output", "json").out
        messages = [json.loads(line) for line in out.splitlines()]
        assert {message["subject"] for message in messages} == {"k"}
        return [message["data"]["text"] for message in messages]

    lines = '{"text": "a"}\n\n{"text": "b"}\n'
    (tmp_path / "lines").write_text(lines)
    (tmp_path / "array").write_text('[\n  {"text": "a"},\n  {"text": "b"}\n]')
    (tmp_path / "object").write_text('{\n  "text": "a"\n}\n')
    assert published(f"@{tmp_path}/lines") == ["a", "b"]
    assert published("-", stdin=lines) == ["a", "b"]
    assert published(f"@{tmp_path}/array") == ["a", "b"]
    assert published(f"@{tmp_path}/object") == ["a"]
    assert published('{"text": "a"}', '{"text": "b"}') == ["a", "b"]
    many = "".join(json.dumps({"text": str(n)}) + "\n" for n in range(limits.BATCH_EVENTS_MAX + 1))
    command = ("topics", "publish", "moves", "-", "--type", "Noted", "--output", "json")
    assert node.run(*command, stdin=many).json() == {"published": limits.BATCH_EVENTS_MAX + 1}
    torn = node.run(*command, stdin=many + '{"txt": 1}')
    assert f"(the {limits.BATCH_EVENTS_MAX:,} events before are published)" in torn.err
    assert f"standard input, line {limits.BATCH_EVENTS_MAX + 2}: " in torn.err


def test_what_is_no_event_is_told_with_its_place(node: RunningNode, tmp_path: Path) -> None:
    def refused(what: str, stdin: str = "") -> str:
        outcome = node.run("topics", "publish", "moves", what, stdin=stdin)
        assert outcome.code in (1, 2)
        return outcome.err

    assert "quote it for the shell" in refused("{text:")
    assert "standard input, line 3: no JSON" in refused("-", stdin='{"text": "a"}\n\n{"text"}\n')
    assert "standard input, line 1: an event is a JSON object" in refused("-", stdin="1")
    assert "input, line 3: an event is" in refused("-", stdin='{"text": "a"}\n\n2')
    assert "line 2, item 2: an event is" in refused("-", stdin='\n[{"text": "a"}, 5]')
    assert "standard input: an event is a JSON object" in refused("-")
    assert f"{tmp_path}/none: No such file" in refused(f"@{tmp_path}/none")

    command = ("topics", "publish", "moves", "-", "--type", "Noted")
    lines = '{"text": "a"}\n{"text": "b"}\n\n{"text": 3}\n{"text": "d"}\n'
    assert "standard input, line 4: " in node.run(*command, stdin=lines).err


def test_consumers(node: RunningNode) -> None:
    names = {row["name"]: row["kind"] for row in node.json("consumers", "list")}
    assert names["mover"] == "consumer"
    assert names["$courier"] == "built-in"
    assert names["balances@1"] == "view"

    assert "mover is paused" in node.run("consumers", "pause", "mover").out
    node.json("entities", "call", "account", "c1", "deposit", "amount=1")
    (row,) = node.json("consumers", "lag", "mover")
    assert row["lag"] >= 1
    assert node.run("consumers", "lag", "mover", "--fail-above", "0").code == 1
    assert "paused" in node.run("consumers", "list").out
    assert node.json("consumers", "resume", "mover")["paused"] is False
    node.settled()
    assert node.run("consumers", "lag", "--fail-above", "0").code == 0


def test_a_view_is_paused_by_its_name(node: RunningNode) -> None:
    (row,) = [row for row in node.json("consumers", "list") if row["view"] == "balances"]
    assert row["name"] == f"balances@{row['version']}"
    shown = node.run("consumers", "list").out
    assert f"view v{row['version']}" in shown
    assert "@" not in shown

    assert "balances is paused" in node.run("consumers", "pause", "balances").out
    assert node.json("consumers", "lag", "balances")[0]["paused"] is True
    assert "paused" in node.run("views", "list").out
    assert node.json("consumers", "resume", "balances")["paused"] is False
    refused = node.run("consumers", "reset", "balances", "--to", "beginning", "--yes")
    assert "rebuild the view instead, with `eventmill views rebuild balances`" in refused.err


def test_a_consumer_is_reset(node: RunningNode) -> None:
    node.json("entities", "call", "account", "c2", "deposit", "amount=4")
    node.settled()
    at = node.json("entities", "events", "account", "c2")[0]

    def messages() -> int:
        out = node.run("topics", "tail", "moves", "-n", "1000", "--output", "json").out
        return sum(json.loads(line)["subject"] == "c2" for line in out.splitlines())

    assert messages() == 1
    position = str(int(at["id"].partition(":")[2]) - 1)
    for place in (["--position", position], ["--time", at["time"]]):
        before = messages()
        node.json("consumers", "reset", "mover", *place, "--yes")
        node.settled()
        assert messages() == before + 1
    assert (
        "continues after" in node.run("consumers", "reset", "mover", "--to", "latest", "--yes").out
    )

    assert node.run("consumers", "reset", "mover", "--yes").code == 2
    far = node.run("consumers", "reset", "mover", "--position", "999999", "--yes")
    assert "outside the journal" in far.err
    view = node.run("consumers", "reset", "balances@1", "--to", "beginning", "--yes")
    assert "rebuild the view instead" in view.err
    courier = node.run("consumers", "reset", "$courier", "--to", "beginning", "--yes")
    assert "has no reset" in courier.err
    unsure = node.run("consumers", "reset", "mover", "--to", "beginning", stdin="n\n")
    assert unsure.code == 130


def test_views(node: RunningNode) -> None:
    node.json("entities", "call", "account", "v1", "deposit", "amount=1000")
    node.settled()
    rows = node.json("views", "query", "balances", "at_least", "minimum=1000")
    assert rows == [{"account": "v1", "balance": 1000}]
    assert "1,000" in node.run("views", "query", "balances", "at_least", "minimum=1000").out
    assert "No rows" in node.run("views", "query", "balances", "at_least", "minimum=5000").out

    for given in (
        ["accounts=v1", "accounts=v2", "path=1", "path=1000"],
        ['accounts=["v1", "v2"]', "path=[1, 1000]"],
    ):
        assert node.json("views", "query", "balances", "some", *given) == rows
    assert node.json("views", "query", "balances", "some", "accounts=[]", "path=[]") == []
    twice = node.run("views", "query", "balances", "at_least", "minimum=1", "minimum=2")
    assert "minimum is given 2 times" in twice.err

    (view,) = node.json("views", "list")
    before = view["live"]["version"]
    assert "is being built as version" in node.run("views", "rebuild", "balances").out
    node.until(("views", "list"), lambda views: views[0]["live"]["version"] == before + 1)
    waited = node.run("views", "rebuild", "balances", "--wait")
    assert waited.out == f"balances answers from version {before + 2}.\n"
    assert node.json("views", "list")[0]["live"]["version"] == before + 2
    assert "live" in node.run("views", "list").out
    assert node.json("views", "query", "balances", "at_least", "minimum=1000") == rows


def test_pages_of_a_view_are_tables_for_people_too(node: RunningNode) -> None:
    for account in ("page1", "page2"):
        node.json("entities", "call", "account", account, "deposit", "amount=1000")
    node.settled()
    ask = ("views", "query", "balances", "paged", "begin=page%", "page_size=1")
    first = node.json(*ask)
    assert first["items"] == [{"account": "page1", "balance": 1000}]
    token = f"page_token={first['next_page_token']}"
    shown = node.run(*ask)
    assert shown.out.splitlines()[-1].split() == ["page1", "1,000"]
    assert shown.err == f"There are more: {token}\n"
    last = node.run(*ask, token)
    assert last.out.splitlines()[-1].split() == ["page2", "1,000"]
    assert last.err == ""


def test_timers(node: RunningNode) -> None:
    node.json("entities", "call", "account", "soon", "remind")
    (timer,) = [t for t in node.json("timers", "list") if t["id"] == "soon"]
    assert timer["name"] == "remind-soon"
    assert (timer["component"], timer["command"]) == ("account", "withdraw")
    assert "remind-soon" in node.run("timers", "list").out


def test_a_node_is_found_by_its_address(node: RunningNode) -> None:
    found = eventmill("entities", "list", "--url", node.admin_url, "--output", "json").json()
    assert found == node.json("entities", "list")
    assert eventmill("entities", "list", "--url", "http://127.0.0.1:1").code == 3
    assert eventmill("entities", "list", "--url", "127.0.0.1").code == 1
    for command in ("timers", "subscriptions", "dead-letters"):
        wrong = eventmill(command, "list", "--url", node.url)
        assert wrong.code == 1
        assert f"{node.url} is not the operating surface of a node" in wrong.err
    unknown = eventmill("entities", "list", "other", "--url", node.admin_url)
    assert "no entity component 'other'" in unknown.err
    env = {"EVENTMILL_ADMIN_URL": node.admin_url, "EVENTMILL_OUTPUT": "json"}
    assert eventmill("entities", "list", env=env).json() == found


def test_tables_fit_a_terminal(node: RunningNode, broken: Path) -> None:
    for amount in (13, 14):
        node.json("entities", "call", "account", "wide", "deposit", f"amount={amount}")
    node.json("entities", "call", "account", "wide", "remind")
    node.until(("dead-letters", "list"), lambda rows: len(rows) > 0)
    for arguments in (
        ["entities", "list"],
        ["entities", "events", "account", "wide"],
        ["topics", "list"],
        ["consumers", "list"],
        ["views", "list"],
        ["dead-letters", "list", "--status", "all"],
        ["timers", "list"],
    ):
        shown = eventmill(*arguments, "--data", node.data, env={"COLUMNS": "80"}).out
        assert max(map(len, shown.splitlines())) <= 80, shown
        for word in ("auditor:0:", "moves/wide", "remind-wide", "waiting"):
            whole = node.run(*arguments).out
            assert shown.count(word) == whole.count(word), shown  # words are not torn
    broken.unlink()
    node.json("dead-letters", "redrive", "auditor", "--all")
    node.until(("dead-letters", "list", "--status", "all"), lambda rows: rows == [])
