"""`euclidesdb model load | reload | unload`: change what a running server serves."""

from __future__ import annotations

import argparse
import sys

import euclidesdb


def run(options: argparse.Namespace) -> int:
    """Make the call; returns 1 where the server refuses it, or does not answer."""
    try:
        with euclidesdb.Client(options.address) as client:
            match options.action:
                case "load":
                    told = _told(client.load_model(options.name))
                case "reload":
                    told = _told(client.reload_model(options.name))
                case _:
                    client.unload_model(options.name)
                    told = f"model {options.name!r} is unloaded; its items are kept"
    except (euclidesdb.EuclidesDBError, ValueError) as error:
        print(f"euclidesdb: {options.address}: {error}", file=sys.stderr)
        return 1
    print(told)
    return 0


def _told(model: euclidesdb.ModelInfo) -> str:
    return (
        f"model {model.name!r} is {model.state}: version {model.fingerprint}, {model.items:,} items"
    )
