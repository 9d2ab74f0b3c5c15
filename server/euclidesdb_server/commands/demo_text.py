"""`euclidesdb demo-text`: search by meaning, with real weights on real sentences."""

from __future__ import annotations

import argparse

from euclidesdb_server.demo import text_tour


def run(options: argparse.Namespace) -> int:  # noqa: ARG001
    """Run the tour; return 1 if one of its checks fails."""
    return text_tour.run()
