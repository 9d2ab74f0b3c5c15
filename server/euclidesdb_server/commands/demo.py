"""`euclidesdb demo`: the main job on real data, with a server of its own."""

from __future__ import annotations

import argparse

from euclidesdb_server.demo import tour


def run(options: argparse.Namespace) -> int:
    """Run the tour; returns 1 where something that it claims is not so."""
    return tour.run(output=options.output, items=options.items, keep_data=options.keep_data)
