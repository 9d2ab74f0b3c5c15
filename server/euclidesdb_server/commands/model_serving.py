"""`euclidesdb model load | reload | unload | drop`: change the models of a running server."""

from __future__ import annotations

import euclidesdb
from euclidesdb_server.commands.connection import connected


def run(action: str, name: str, address: str) -> int:
    """Make the call. action: "load", "reload", "unload" or "drop"."""
    with connected(address) as client:
        match action:
            case "load":
                result = _description(client.load_model(name))
            case "reload":
                result = _description(client.reload_model(name))
            case "drop":
                client.drop_model_version(name)
                result = f"version {name!r} is dropped; its disk space is freed in the background"
            case _:
                client.unload_model(name)
                result = f"model {name!r} is unloaded; its items are kept"
    print(result)
    return 0


def _description(model: euclidesdb.ModelInfo) -> str:
    return (
        f"model {model.name!r} is {model.state}: version {model.fingerprint}, {model.items:,} items"
    )
