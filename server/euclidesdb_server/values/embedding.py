"""Embedding: the outputs of one model for one item."""

from __future__ import annotations

import msgspec

from euclidesdb_server.values.arrays import Vector


class Embedding(msgspec.Struct, frozen=True):
    """The features and predictions of one item.

    vector: the features, float32, shape (feature_dim,). predictions: float32, shape
    (prediction_dim,); None if the model makes none or the vector came ready-made.
    """

    vector: Vector
    predictions: Vector | None
