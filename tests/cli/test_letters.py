"""Dead letters from the command line."""

from __future__ import annotations

from pathlib import Path

from tests.cli.commands import RunningNode


def test_redrive(node: RunningNode, broken: Path) -> None:
    letters = poisoned(node, "l1", 13, 14)
    assert [(x["status"], x["entry"]["data"]["amount"]) for x in letters] == [
        ("dead", 13),
        ("waiting", 14),
    ]
    dead, waiting = letters
    assert dead["key"] == "moves/l1"

    listed = node.run("dead-letters", "list", "auditor").out
    assert dead["id"] in listed
    assert waiting["id"] not in listed
    assert "thirteen cannot be audited" in listed
    shown = node.run("dead-letters", "show", dead["id"]).out
    assert "RuntimeError: thirteen cannot be audited" in shown
    assert '"amount": 13' in shown
    assert "traceback" in node.json("dead-letters", "show", dead["id"])
    assert "has dead letters" in node.run("consumers", "list").out

    behind = node.run("dead-letters", "redrive", "auditor", "--letter", waiting["id"])
    assert behind.code == 1
    assert "waits behind another" in behind.err
    assert node.run("dead-letters", "redrive", "auditor").code == 2

    broken.unlink()
    redriven = node.run("dead-letters", "redrive", "auditor", "--key", "moves/l1")
    assert redriven.out == "1 letter will be tried again.\n"
    node.until(("dead-letters", "list", "auditor", "--status", "all"), lambda rows: rows == [])
    assert "No such letters" in node.run("dead-letters", "list", "auditor").out


def test_discard(node: RunningNode, broken: Path) -> None:
    dead, _ = poisoned(node, "l2", 13, 15)
    unsure = node.run("dead-letters", "discard", "auditor", "--letter", dead["id"], stdin="n\n")
    assert unsure.code == 130

    discarded = node.run("dead-letters", "discard", "auditor", "--all", "--yes")
    assert discarded.out == "1 letter discarded.\n"
    node.until(("dead-letters", "list", "auditor", "--status", "all"), lambda rows: rows == [])


def test_a_refused_command_is_sent_anew(node: RunningNode) -> None:
    for command in ("deposit", "withdraw"):
        node.json("entities", "call", "account", "poor", command, "amount=5")
    (refused,) = node.until(
        ("dead-letters", "list", "--status", "refused"), lambda rows: len(rows) == 1
    )
    assert refused["code"] == "account.low"
    assert refused["subscription"] == "$courier"

    node.json("entities", "call", "account", "rich", "deposit", "amount=100")
    choice = ("dead-letters", "redrive", "$courier", "--refused", "--all")
    assert node.json(*choice) == {"redriven": 1}
    node.until(
        ("entities", "get", "account", "rich"), lambda found: found["state"]["balance"] == 95
    )
    assert node.json("dead-letters", "list") == []


def poisoned(node: RunningNode, account: str, *amounts: int) -> list[dict[str, object]]:
    """Deposit amounts, of which 13 cannot be audited; return the letters of the auditor."""
    for amount in amounts:
        node.json("entities", "call", "account", account, "deposit", f"amount={amount}")
    command = ("dead-letters", "list", "auditor", "--status", "all")
    found: list[dict[str, object]] = node.until(command, lambda rows: len(rows) == len(amounts))
    return found


def test_where_nobody_answers_a_question_needs_yes(node: RunningNode) -> None:
    for command in (
        ["consumers", "reset", "mover", "--to", "beginning"],
        ["dead-letters", "discard", "auditor", "--all"],
        ["subscriptions", "delete", "nothing"],
    ):
        unanswered = node.run(*command)
        assert unanswered.code == 2
        assert "give --yes to do it without being asked" in unanswered.err.splitlines()[-1]
        assert node.run(*command, stdin="n\n").code == 130


def test_a_letter_of_an_older_version_is_shown_as_its_handler_gets_it(tmp_path: Path) -> None:
    with RunningNode(tmp_path / "data", target="lifting:service") as node:
        event = {"specversion": "1.0", "id": "1", "source": "/t", "type": "Weighed"}
        older = {**event, "eventversion": 1, "data": {"kilos": 2}}
        node.post("/topics/weights", older, **{"content-type": "application/cloudevents+json"})
        rows = node.until(("dead-letters", "list"), lambda rows: len(rows) == 1)
        assert rows[0]["error"].endswith("2000 g are too much")
        found = node.json("dead-letters", "show", rows[0]["id"])
        assert found["entry"]["version"] == 1
        assert found["lifted"] == {"type": "Weighed", "version": 2, "data": {"grams": 2000}}
        shown = node.run("dead-letters", "show", rows[0]["id"]).out
        assert '"kilos": 2' in shown
        assert "read as Weighed v2\n" in shown
        assert '"grams": 2000' in shown
        assert node.stop() == 0
