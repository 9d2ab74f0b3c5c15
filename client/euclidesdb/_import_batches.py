"""The items of a file to import, in batches of bounded size: one for each call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from euclidesdb._batches import Batch, Refuse
from euclidesdb._errors import Refused
from euclidesdb._item_rows import BadRow, RowSource, VectorColumn, imported_item
from euclidesdb._request_keys import request_key_of
from euclidesdb_protos.v1 import database_pb2 as pb

ITEMS_PER_IMPORT: Final = 1024


class ImportBatches:
    """The items of a file in batches. wants: whether a column of vectors is imported.

    count: of the items so far.
    """

    def __init__(
        self,
        source: RowSource,
        wants: Callable[[VectorColumn], bool],
        bytes_per_call: int,
        refuse: Refuse,
    ) -> None:
        self.count = 0
        self._source = source
        self._wants = wants
        self._bytes_per_call = bytes_per_call
        self._refuse = refuse

    def __iter__(self) -> Iterator[Batch]:
        request, positions, size = _request(), list[int](), 0
        failure: Exception | None = None
        try:
            for position, message in self._messages():
                added = message.ByteSize()
                full = len(positions) == ITEMS_PER_IMPORT or size + added > self._bytes_per_call
                if positions and full:
                    yield _batch(request, positions)
                    request, positions, size = _request(), [], 0
                request.items.append(message)
                positions.append(position)
                size += added
        except Exception as error:  # of a file that is damaged; what is before it is sent
            failure = error
        if positions:
            yield _batch(request, positions)
        if failure is not None:
            raise failure

    def _messages(self) -> Iterator[tuple[int, Any]]:
        for position, row in enumerate(self._source.rows()):
            self.count = position + 1
            if isinstance(row, BadRow):
                self._refuse(Refused(position, row.id, row.error))
                continue
            try:
                message = imported_item(row, self._wants)
            except (TypeError, ValueError) as error:
                self._refuse(Refused(position, row.id, error))
            else:
                yield position, message


def _request() -> pb.ImportItemsRequest:
    return pb.ImportItemsRequest(request_key=request_key_of(None))


def _batch(request: pb.ImportItemsRequest, positions: Sequence[int]) -> Batch:
    return Batch(request, positions, [item.id for item in request.items])
