"""`eventmill completion`: print the shell's completion script."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print the completion script of SHELL.

    \b
    bash: eval "$(eventmill completion bash)"            in ~/.bashrc
    zsh:  eval "$(eventmill completion zsh)"             in ~/.zshrc
    fish: eventmill completion fish > ~/.config/fish/completions/eventmill.fish
    """
    found = get_completion_class(shell)
    assert found is not None
    root = context.find_root().command
    click.echo(found(root, {}, "eventmill", "_EVENTMILL_COMPLETE").source())
