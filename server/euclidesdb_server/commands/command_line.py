"""The command line as click sees it: commands that are imported when they are used, and errors."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module, metadata
from typing import Final

import click

from euclidesdb_server.commands.catalog import COMMANDS, DESCRIPTION
from euclidesdb_server.commands.printing import printable_lines

PROGRAM: Final = "euclidesdb"
COMPLETION_VARIABLE: Final = "_EUCLIDESDB_COMPLETE"


class CommandLine(click.Group):
    """The commands of the catalog. Listing them imports none."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Their names, in the order of the catalog."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command, imported."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].place.partition(":")
        command: click.Command = getattr(import_module(f"{__package__}.{module}"), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write their summaries, which click would import every command for."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.summary) for name, command in COMMANDS.items()])


def command_line() -> CommandLine:
    """The whole command line."""
    group = CommandLine(PROGRAM, help=DESCRIPTION)
    version = metadata.version("euclidesdb")
    return click.version_option(version, prog_name=PROGRAM, message="%(prog)s %(version)s")(group)


def run(arguments: Sequence[str]) -> int:
    """Run a command; return its exit code.

    Raises KeyboardInterrupt, BrokenPipeError, and ModuleNotFoundError for an extra that is missing.
    """
    group = command_line()
    instruction = os.environ.get(COMPLETION_VARIABLE)
    if instruction:
        from click.shell_completion import shell_complete  # noqa: PLC0415  for this alone

        return shell_complete(group, {}, PROGRAM, COMPLETION_VARIABLE, instruction)
    try:
        # not click's own `main`, which handles Ctrl-C and broken pipes in its own way
        with group.make_context(PROGRAM, list(arguments)) as context:
            return group.invoke(context) or 0
    except click.exceptions.Exit as error:  # after --help, for example
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message(), file=sys.stderr)
        return error.exit_code
    except click.UsageError as error:
        path = PROGRAM if error.ctx is None else error.ctx.command_path
        message = printable_lines(error.format_message()).removesuffix(".")
        print(f"{path}: {message}; see {path} --help", file=sys.stderr)
        return error.exit_code
    except click.ClickException as error:
        print(f"{PROGRAM}: {printable_lines(error.format_message())}", file=sys.stderr)
        return error.exit_code
    except click.Abort:
        raise KeyboardInterrupt from None
