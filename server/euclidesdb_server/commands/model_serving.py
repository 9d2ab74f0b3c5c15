"""`euclidesdb model load | reload | unload | drop`: change the models of a running server."""

from __future__ import annotations

import argparse
import sys

import euclidesdb


def run(options: argparse.Namespace) -> int:
    """Make the call; return 1 if the server refuses it or does not answer."""
    try:
        with euclidesdb.Client(options.address) as client:
            match options.action:
                case "load":
                    result = _description(client.load_model(options.name))
                case "reload":
                    result = _description(client.reload_model(options.name))
                case "drop":
                    client.drop_model_version(options.name)
                    result = (
                        f"version {options.name!r} is dropped; its disk space is freed in the "
                        "background"
                    )
                case _:
                    client.unload_model(options.name)
                    result = f"model {options.name!r} is unloaded; its items are kept"
    except (euclidesdb.EuclidesDBError, ValueError) as error:
        print(f"euclidesdb: {options.address}: {error}", file=sys.stderr)
        return 1
    print(result)
    return 0


def _description(model: euclidesdb.ModelInfo) -> str:
    return (
        f"model {model.name!r} is {model.state}: version {model.fingerprint}, {model.items:,} items"
    )
