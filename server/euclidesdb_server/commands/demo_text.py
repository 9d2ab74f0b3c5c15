"""`euclidesdb demo-text`: search by meaning, with real weights on real sentences."""

from __future__ import annotations

import argparse

from euclidesdb_server.demo import text_tour


def run(options: argparse.Namespace) -> int:  # noqa: ARG001
    """Give the tour."""
    return text_tour.run()
