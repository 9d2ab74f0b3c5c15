"""Kinds of input: each turns an item's bytes into what its program takes. One file each."""

from euclidesdb_server.worker.inputs.protocol import InputKind, Undecodable

__all__ = ["InputKind", "Undecodable"]
