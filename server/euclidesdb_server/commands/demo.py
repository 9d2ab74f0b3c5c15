"""`euclidesdb demo`: the main operations on real data, with a new server."""

from __future__ import annotations

import argparse

from euclidesdb_server.demo import tour


def run(options: argparse.Namespace) -> int:
    """Run the tour; return 1 if one of its checks fails."""
    return tour.run(output=options.output, items=options.items, keep_data=options.keep_data)
