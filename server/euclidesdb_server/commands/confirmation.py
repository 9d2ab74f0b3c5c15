"""Asking before many items are changed or removed."""

from __future__ import annotations

import sys

import click

from euclidesdb_server.commands.printing import counted


def confirm(count: int, verb: str, done: str) -> None:
    """Ask whether so many items are to be changed. done: the participle of the verb.

    Raises UsageError if there is no terminal to ask on, and ClickException if they are not to be.
    """
    if not sys.stdin.isatty():
        message = f"{counted(count)} would be {done}; say --yes to {verb} without asking"
        raise click.UsageError(message, click.get_current_context())
    if not click.confirm(f"{verb.capitalize()} {counted(count)}?", err=True):
        raise click.ClickException(f"nothing was {done}")
