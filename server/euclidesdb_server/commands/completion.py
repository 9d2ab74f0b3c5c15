"""`euclidesdb completion`: the script that makes a shell complete commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
def completion(*, shell: str) -> int:
    """Print the script that completes commands and options in a shell.

    In bash, for example, add this to ~/.bashrc: eval "$(euclidesdb completion bash)"
    """
    from euclidesdb_server.commands.command_line import (  # noqa: PLC0415  it imports this module
        COMPLETION_VARIABLE,
        PROGRAM,
        command_line,
    )

    kind = get_completion_class(shell)
    if kind is None:
        raise click.ClickException(f"click does not know {shell}")
    print(kind(command_line(), {}, PROGRAM, COMPLETION_VARIABLE).source())
    return 0
