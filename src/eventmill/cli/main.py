"""Entry point of `eventmill`: finds the command's module, and turns errors into exit codes.

Exit codes: 0 done; 1 refused, or a problem was found; 2 wrong usage; 3 the node is not reachable;
130 interrupted. A command's module is imported only when it is used: `--help` stays fast.
"""

from __future__ import annotations

import os
import sys
import traceback
from importlib import import_module
from importlib.metadata import version
from typing import Any

import click

from eventmill.cli.surface.exits import INTERRUPTED, REFUSED, Failure
from eventmill.errors import EventmillError

TRACEBACK = "EVENTMILL_TRACEBACK"
"""Set it to anything to see where an error comes from, not only what it says."""

COMMANDS = {
    "new": "Create a working project with tests.",
    "run": "Run a service, or several in one process.",
    "dev": "Run a cluster on this machine, with servers of its own.",
    "check": "Check a service: problems, topology, couplings, stored data.",
    "schema": "Keep schemas compatible: export, diff, check.",
    "services": "Show the services that run: list, describe, topology.",
    "entities": "List and read entities, call them.",
    "topics": "List topics, publish to them, follow them.",
    "consumers": "List, pause, resume, reset and replay consumers.",
    "views": "List, query and rebuild views.",
    "dead-letters": "List, show, redrive and discard dead letters.",
    "subscriptions": "Push topics and entity events to URLs.",
    "timers": "List and cancel timers.",
    "schedules": "List, run, pause and resume schedules.",
    "workflows": "List and read workflows; suspend, retry, terminate them.",
    "export": "Write a data directory to a file.",
    "import": "Make a data directory from an exported file.",
    "doctor": "Examine this machine, a data directory, and servers.",
    "completion": "Print the shell's completion script.",
}
"""Name → one line. The module of `x-y` is `cli/x_y.py`, the command in it is `command`."""


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"eventmill.cli.{_module_of(cmd_name)}")
        found: click.Command = module.command
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            text = f"{error.message} There is {', '.join(COMMANDS)}."
            raise click.UsageError(text, ctx) from error


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("eventmill"), prog_name="eventmill")
def eventmill() -> None:
    """Run and operate Eventmill services."""


def main(args: list[str] | None = None) -> None:
    """Run a command line; end the process with its exit code."""
    sys.exit(run(args))


def run(args: list[str] | None) -> int:
    """Run a command line, of this process if none is given; return its exit code."""
    try:
        result: Any = eventmill.main(args, prog_name="eventmill", standalone_mode=False)
    except Failure as failure:
        failure.show()
        return failure.code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.exceptions.Exit as exit:
        return exit.exit_code
    except EventmillError as error:
        if os.environ.get(TRACEBACK):
            traceback.print_exception(error)
        Failure(error.message).show()
        return REFUSED
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # the reader of a pipe has enough: nothing to tell it
        return 0
    except OSError as error:
        place = f"{error.filename}: " if error.filename is not None else ""
        Failure(f"{place}{error.strerror or error}").show()
        return REFUSED
    return result if isinstance(result, int) else 0


def _module_of(name: str) -> str:
    return {"import": "import_data"}.get(name, name.replace("-", "_"))


if __name__ == "__main__":
    main()
