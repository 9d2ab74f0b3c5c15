"""The items of a file to import, in batches of bounded size: one for each call.

Where each item is a ready-made vector of the same model, they are sent as columns, as `add_vectors`
does, which takes a fifth of the processor time. Others are sent as messages.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from euclidesdb import _arrays as arrays
from euclidesdb._batches import Batch, Refuse, row_slices
from euclidesdb._errors import Refused
from euclidesdb._item_rows import BadRow, imported_item
from euclidesdb._request_keys import request_key_of
from euclidesdb._row_batches import RowBatch, RowColumns, RowSource, Wants
from euclidesdb_protos.v1 import database_pb2 as pb

ITEMS_PER_IMPORT: Final = 1024


class ImportBatches:
    """The items of a file in batches, in order.

    count: of the items so far.
    """

    def __init__(
        self, source: RowSource, wants: Wants, bytes_per_call: int, refuse: Refuse
    ) -> None:
        self.count = 0
        self._source = source
        self._wants = wants
        self._bytes_per_call = bytes_per_call
        self._refuse = refuse
        self._request, self._size = _request(), 0
        self._positions: list[int] = []

    def __iter__(self) -> Iterator[Batch]:
        failure: Exception | None = None
        try:
            for rows in self._source.batches():
                columns = self._as_columns(rows)
                if columns is None:
                    yield from self._as_items(rows)
                else:
                    yield from self._flushed()
                    yield from columns
        except Exception as error:  # of a file that is damaged; what is before it is sent
            failure = error
        yield from self._flushed()
        if failure is not None:
            raise failure

    def _as_items(self, rows: RowBatch) -> Iterator[Batch]:
        for position, row in enumerate(rows.rows(), self.count):
            self.count = position + 1
            if isinstance(row, BadRow):
                self._refuse(Refused(position, row.id, row.error))
                continue
            try:
                message = imported_item(row, self._wants)
            except (TypeError, ValueError) as error:
                self._refuse(Refused(position, row.id, error))
                continue
            added = message.ByteSize()
            if (
                len(self._positions) == ITEMS_PER_IMPORT
                or self._size + added > self._bytes_per_call
            ):
                yield from self._flushed()
            self._request.items.append(message)
            self._positions.append(position)
            self._size += added

    def _flushed(self) -> Iterator[Batch]:
        """The items that wait to be sent."""
        request, positions = self._request, self._positions
        if positions:
            self._request, self._positions, self._size = _request(), [], 0
            yield Batch(request, positions, [item.id for item in request.items])

    def _as_columns(self, rows: RowBatch) -> Sequence[Batch] | None:
        """The rows as columns; None if that is not possible."""
        try:
            columns = rows.columns(self._wants)
            if columns is None:
                return None
            batches = [*self._column_batches(columns)]
        except ValueError:  # a text that is not valid Unicode; `_as_items` goes as far as it can
            return None
        self.count += len(columns.ids)
        return batches

    def _column_batches(self, columns: RowColumns) -> Iterator[Batch]:
        attributes, metadata = columns.attributes_json or (), columns.metadata or ()
        texts = (columns.ids, attributes, metadata)
        for part in row_slices(columns.vectors, texts, self._bytes_per_call):
            request = pb.AddVectorsRequest(
                model=columns.column.model,
                fingerprint=columns.column.fingerprint,
                ids=columns.ids[part],
                attributes_json=attributes[part],
                metadata=metadata[part],
                request_key=request_key_of(None),
            )
            arrays.write_floats(request.vectors, columns.vectors[part])
            positions = range(self.count + part.start, self.count + part.stop)
            yield Batch(request, positions, columns.ids[part])


def _request() -> pb.ImportItemsRequest:
    return pb.ImportItemsRequest(request_key=request_key_of(None))
