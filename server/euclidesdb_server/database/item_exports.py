"""ItemExports: opens exports, and divides among them what they may hold in memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Final

from euclidesdb_server.columns import ItemTable
from euclidesdb_server.columns.table_view import Selection
from euclidesdb_server.database.item_export import ExportRequest, ItemExport
from euclidesdb_server.database.model_table import ModelTable
from euclidesdb_server.database.requests import Call, check_waiting
from euclidesdb_server.database.superseded_space import superseded_name
from euclidesdb_server.errors import ModelUnavailable
from euclidesdb_server.store import FeatureStore, SpaceRecord, StoreReader

FEW: Final = 4
"""If more are open, they share the limits of what is read at a time: clients that do not read must
not fill the memory with what has been read for them."""


class ItemExports:
    """Opens exports. Thread-safe."""

    def __init__(self, store: FeatureStore, models: ModelTable, table: ItemTable) -> None:
        self._store = store
        self._models = models
        self._table = table
        self._lock = threading.Lock()
        self._open = 0

    @contextmanager
    def open(self, request: ExportRequest, call: Call) -> Iterator[ItemExport]:
        """The items as of now; to be read while the context is open.

        Raises UnknownModel, ModelUnavailable, StorageError, DeadlineExceeded.
        """
        named = {name: self._named(name) for name in request.models}
        check = partial(check_waiting, call)
        with ExitStack() as opened:

            def snapshot() -> StoreReader:
                return opened.enter_context(self._store.snapshot())

            view, reader = self._table.view_with(check, snapshot)
            selection = view.select(request.condition, check)
            spaces = named or self._with_vectors(selection)
            opened.enter_context(self._counted())
            yield ItemExport(request, selection, reader, spaces, call, share=self._share)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._lock:
            self._open += 1
        try:
            yield
        finally:
            with self._lock:
                self._open -= 1

    def _share(self) -> float:
        """What one export may have of the limits."""
        return min(1.0, FEW / max(self._open, 1))

    def _with_vectors(self, selection: Selection) -> dict[str, SpaceRecord]:
        """The spaces in which items have vectors, or have failed, by name."""
        spaces: dict[str, SpaceRecord] = {}
        for record in self._store.spaces():
            if not selection.any_in(record.number):
                continue
            earlier = self._models.superseded_name(record.model, record.fingerprint)
            name = earlier or record.model
            if name in spaces:
                name = superseded_name(record.model, record.fingerprint)
            spaces[name] = record
        return spaces

    def _named(self, name: str) -> SpaceRecord:
        serving = self._models.resolve(name)
        if serving.record is None:
            state, reason = serving.state
            raise ModelUnavailable(f"model {name!r} is {state}: {reason}")
        return serving.record
