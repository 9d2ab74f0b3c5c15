"""Databases as EuclidesDB (C++) writes them."""

from __future__ import annotations

import struct
from pathlib import Path

import plyvel

from euclidesdb_protos.legacy import euclidesproto_pb2 as pb

METADATA_KEY = b"__euclidesdb_metadata"


def write_euclidesdb(folder: Path, *items: pb.ItemData, version: int = 1) -> None:
    """A database as EuclidesDB's databasemanager.cpp writes it."""
    database = plyvel.DB(str(folder), create_if_missing=True, compression="snappy")
    metadata = pb.EuclidesDBMetadata(database_version=version)
    database.put(METADATA_KEY, metadata.SerializeToString())
    for each in items:
        database.put(struct.pack("=i", each.item_id), each.SerializeToString())
    database.close()
