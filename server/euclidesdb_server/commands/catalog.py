"""Every command: where it is declared, the extra that it needs, and what it does, in one line.

Imports nothing, so that the help can be printed whatever is installed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

DESCRIPTION: Final = (
    "A machine-learning feature database: it embeds your items with your PyTorch models and finds "
    "the nearest neighbors."
)


class Listed(NamedTuple):
    """A command. place: "module:name", in this package."""

    summary: str
    place: str
    extra: str = "cli"


COMMANDS: Final = {
    "serve": Listed("run the server", "server:serve", "server"),
    "add": Listed("add images, texts, or the rows of a table", "add:add"),
    "get": Listed("show items", "get:get"),
    "update": Listed("change the attributes of items", "update:update"),
    "remove": Listed("remove items, by id or by a filter", "remove:remove"),
    "count": Listed("count items", "listing:count"),
    "list": Listed("list items", "listing:list_items"),
    "summarize": Listed("count items by the values of fields", "summarize:summarize"),
    "find": Listed("find similar items", "find:find"),
    "export": Listed("write items to a file", "transfers:export_items"),
    "import": Listed("store the items of a file", "transfers:import_items"),
    "embed": Listed("run a model over stored items", "embed:embed"),
    "jobs": Listed("list the jobs of embed, or end one", "embed:jobs"),
    "models": Listed("list the models of a running server", "models:models"),
    "health": Listed("whether a server and its models can be used", "health:health"),
    "stats": Listed("an overview of a running server", "stats:stats"),
    "top": Listed("what a running server is doing, live", "top:top"),
    "model": Listed("check, compare, export, load, drop models", "model:model", "server"),
    "key": Listed("make, list and revoke the API keys of a server", "key:key", "server"),
    "verify": Listed(
        "check all data in a folder that no server is using", "server:verify", "server"
    ),
    "backup": Listed("back up a running server", "backup:backup"),
    "backups": Listed("list the backups in a place", "backup:backups"),
    "verify-backup": Listed("compare backups with their checksums", "backup:verify_backup"),
    "restore": Listed("restore a backup", "backup:restore"),
    "demo": Listed("add, search and remove real handwritten digits", "server:demo", "demo"),
    "demo-text": Listed("search real sentences by meaning", "server:demo_text", "export"),
    "completion": Listed("print the script that completes commands", "completion:completion"),
}
EXTRAS: Final = {
    "model drop": "cli",
    "model export": "export",
    "model load": "cli",
    "model reload": "cli",
    "model unload": "cli",
}
"""Those of the commands in a group, where they differ from the group's."""


def extra_of(arguments: Sequence[str]) -> tuple[str, str]:
    """The command that a command line names, and the extra that it needs."""
    words = [argument for argument in arguments if not argument.startswith("-")]
    for length in (2, 1):
        name = " ".join(words[:length])
        if name in EXTRAS:
            return name, EXTRAS[name]
        if words and words[0] in COMMANDS and (length == 1 or words[0] == "model"):
            return name, COMMANDS[words[0]].extra
    return "COMMAND", "cli"
