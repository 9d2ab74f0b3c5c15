"""Embedding: what one model computes from one item."""

from __future__ import annotations

from dataclasses import dataclass

from euclidesdb_server.values.arrays import Vector


@dataclass(frozen=True, slots=True)
class Embedding:
    """What one model says of one item; float32 arrays."""

    vector: Vector
    predictions: Vector | None
