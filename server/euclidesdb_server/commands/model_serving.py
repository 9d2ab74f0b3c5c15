"""`euclidesdb model load | reload | unload | drop`: change the models of a running server."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import euclidesdb
from euclidesdb_server.commands.connection import connected
from euclidesdb_server.commands.printing import print_json


def run(action: str, name: str, address: str, *, as_json: bool) -> int:
    """Make the call. action: "load", "reload", "unload" or "drop"."""
    with connected(address) as client:
        text, fields = _changed(client, action, name)
    if as_json:
        print_json(fields)
    else:
        print(text)
    return 0


def _changed(client: euclidesdb.Client, action: str, name: str) -> tuple[str, dict[str, Any]]:
    match action:
        case "load":
            return _described(client.load_model(name))
        case "reload":
            return _described(client.reload_model(name))
        case "drop":
            client.drop_model_version(name)
            text = f"version {name!r} is dropped; its disk space is freed in the background"
            return text, {"name": name, "state": "dropped"}
    client.unload_model(name)
    return f"model {name!r} is unloaded; its items are kept", {"name": name, "state": "unloaded"}


def _described(model: euclidesdb.ModelInfo) -> tuple[str, dict[str, Any]]:
    version = f"version {model.fingerprint}, {model.items:,} items"
    return f"model {model.name!r} is {model.state}: {version}", asdict(model)
