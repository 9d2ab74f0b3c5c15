"""`Transfers`: the operations that export items and import them."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from euclidesdb import _checks as checks
from euclidesdb._adds import BulkAdd
from euclidesdb._batches import Batch
from euclidesdb._changes import Changes
from euclidesdb._connection import Connection
from euclidesdb._errors import Refused, UnknownModel, VersionMismatch
from euclidesdb._export import ExportBase, exporting
from euclidesdb._filters import filter_message
from euclidesdb._import_batches import ImportBatches
from euclidesdb._item_files import check_format, complete_file, open_source
from euclidesdb._item_queries import counted
from euclidesdb._item_rows import VectorColumn, named_columns
from euclidesdb._model_calls import listed_models
from euclidesdb._operation import operation
from euclidesdb._progress import Progress, reporting
from euclidesdb._query_types import Filter
from euclidesdb._types import ModelInfo
from euclidesdb_protos.v1 import database_pb2 as pb


@dataclass(frozen=True, slots=True)
class Imported:
    """What `import_file` did.

    items: how many are on disk. refused: the others, by position. changes: how many of `items` are
    new, changed, and unchanged.
    """

    items: int
    refused: tuple[Refused, ...] = ()
    changes: Changes = field(default_factory=Changes)


class Transfers:
    """A part of both clients, which have the connection."""

    _connection: Connection

    @exporting
    def export(
        self,
        filter: Filter | None = None,  # noqa: A002  the API's name for it
        *,
        models: Sequence[str] | None = None,
        include_vectors: bool = True,
        include_predictions: bool = True,
        include_payloads: bool = False,
        timeout: float | None = None,
    ) -> ExportBase:
        """All that is stored of the items that match a filter, or of all items; needs pyarrow.

        The items are those of one moment, in the order in which they were first added.

            table = db.export("digits.confidence < 0.6").to_pandas()

        models: names, also "digits@fingerprint" of former versions; None: all of which an item has
            a vector.
        timeout: seconds for all of it; None: no limit.

        Columns: `id`, `attributes_json`, `metadata`; `vector:digits`, `predictions:digits`,
        `ready_made:digits` (whether the vector was not made from the payload) and `failure:digits`
        (why there is none: reason, message, time) for each model, with `model` and `fingerprint` in
        the metadata of the field; `payload_kind` and `payload` (the
        bytes of an image, the UTF-8 of a text, a tensor as NumPy's .npy); `payload_digest`.

        Raises ImportError, ValueError; when it is read, UnknownModel, CorruptRecord, Unavailable.
        """
        request = _export_request(
            filter,
            models,
            include_vectors=include_vectors,
            include_predictions=include_predictions,
            include_payloads=include_payloads,
        )
        connection = self._connection
        return ExportBase(connection, request, connection.stream_timeout(timeout))

    @operation
    async def export_file(
        self,
        path: str | os.PathLike[str],
        filter: Filter | None = None,  # noqa: A002  the API's name for it
        *,
        models: Sequence[str] | None = None,
        include_vectors: bool = True,
        include_predictions: bool = True,
        include_payloads: bool = False,
        progress: Progress = False,
        timeout: float | None = None,
    ) -> int:
        """Write the items that match a filter, or all, to a file; returns their number.

        path: ends with .parquet, .arrow, .jsonl or .npz, which says what is written. The first
            three hold everything; .npz holds neither metadata nor payloads nor failures. A file of
            this name is replaced once the new one is complete.
        progress: as in `add_many`.

        The other arguments are those of `export`. Raises as it does, and OSError.
        """
        target = Path(checks.local_path("path", path))
        check_format(target)
        request = _export_request(
            filter,
            models,
            include_vectors=include_vectors,
            include_predictions=include_predictions,
            include_payloads=include_payloads,
        )
        connection = self._connection
        export = ExportBase(connection, request, connection.stream_timeout(timeout))
        expected = None
        if progress is True:
            expected = range(await counted(connection, filter, None))
        done = 0
        with reporting(progress, expected) as report:
            async with export.open() as batches:
                with complete_file(target, batches.reader.schema) as file:
                    while (batch := await connection.offload(batches.read)) is not None:
                        await connection.offload(file.write, batch)
                        done += batch.num_rows
                        report(done, 0)
        return done

    @operation
    async def import_file(
        self,
        path: str | os.PathLike[str],
        *,
        models: Sequence[str] | None = None,
        vectors: Mapping[str, str] | None = None,
        bytes_per_call: int = 4 << 20,
        progress: Progress = False,
        timeout: float | None = None,
    ) -> Imported:
        """Store the items of a file as they were exported; no model is run.

        An item that is there already is changed as by `add`: it keeps its vectors of other models,
        unless they were made from another image, text or tensor. New items are added in the order
        of the file. When this returns, every item is on disk and in the next search, or among the
        refused.

        path: a file that `export_file` has written, or another one of these formats with a column
            `id` (in .npz `ids`), and if need be `attributes_json`.
        models: the models whose vectors are stored; None: all in the file. A vector is stored only
            for the version that made it.
        vectors: further columns of vectors, {column: model}; in .jsonl keys.
        timeout: seconds for each call, of at most 4,096 items that are ready-made vectors of one
            model, or 1,024 others; None: ten times the client's.
        bytes_per_call, progress: as in `add_many`.

        Raises OSError, ValueError or TypeError for a file that cannot be read, UnknownModel or
        VersionMismatch if the server does not have a version whose vectors are in the file, and
        AddsInterrupted as `add_many` does.
        """
        source_path = Path(checks.local_path("path", path))
        check_format(source_path)
        size = checks.positive("bytes_per_call", bytes_per_call)
        wanted = None if models is None else {*checks.names("models", models)}
        columns = named_columns(vectors)
        connection = self._connection
        seconds = connection.bulk_timeout(timeout)
        source = await connection.offload(open_source, source_path, columns)
        with closing(source):
            count = await connection.offload(source.count)
            items = None if count is None else range(count)
            wants = _Wanted(wanted, columns, await listed_models(connection, None))
            with reporting(progress, items) as report:
                adds = BulkAdd(connection, seconds, report, max_in_flight=1)
                batches = ImportBatches(source, wants, size, adds.refuse)
                refused = await adds.run(_read(connection, iter(batches)))
        return Imported(batches.count - len(refused), tuple(refused), refused.changes)


def _export_request(
    filter: Filter | None,  # noqa: A002  the API's name for it
    models: Sequence[str] | None,
    *,
    include_vectors: bool,
    include_predictions: bool,
    include_payloads: bool,
) -> pb.ExportItemsRequest:
    request = pb.ExportItemsRequest(
        models=() if models is None else checks.names("models", models),
        include_vectors=checks.flag("include_vectors", include_vectors),
        include_predictions=checks.flag("include_predictions", include_predictions),
        include_payloads=checks.flag("include_payloads", include_payloads),
    )
    if filter is not None:
        request.filter.CopyFrom(filter_message(filter))
    return request


async def _read(connection: Connection, batches: Iterator[Batch]) -> AsyncGenerator[Batch, None]:
    while (batch := await connection.offload(next, batches, None)) is not None:
        yield batch


class _Wanted:
    """Which columns of vectors are imported.

    models: the names of those that are; None: all. named: imported always. server_models: those of
    the server.
    """

    def __init__(
        self,
        models: set[str] | None,
        named: Mapping[str, VectorColumn],
        server_models: tuple[ModelInfo, ...],
    ) -> None:
        self._models = models
        self._named = {*named.values()}
        self._server_models = server_models
        self._known: dict[VectorColumn, bool] = {}

    def __call__(self, column: VectorColumn) -> bool:
        """Whether it is. Raises UnknownModel, VersionMismatch if the server has no such version."""
        known = self._known.get(column)
        if known is None:
            known = self._models is None or column.name in self._models or column in self._named
            if known:
                self._check(column)
            self._known[column] = known
        return known

    def as_columns(self, column: VectorColumn, dim: int) -> bool:
        """See Wants."""
        return any(
            model.name == column.model
            and model.state != "superseded"
            and model.feature_dim == dim
            and column.fingerprint in ("", model.fingerprint)
            for model in self._server_models
        )

    def _check(self, column: VectorColumn) -> None:
        found = self._server_models
        if column.model not in {model.name for model in found}:
            raise UnknownModel(
                f"the server has no model {column.model!r}, of which there are vectors in the file",
                "unknown_model",
            )
        versions = {
            model.fingerprint
            for model in found
            if model.name in (column.model, f"{column.model}@{column.fingerprint}")
        }
        if column.fingerprint and column.fingerprint not in versions:
            raise VersionMismatch(
                f"the file has vectors of version {column.fingerprint!r} of model "
                f"{column.model!r}, which the server does not have; name the others in models to "
                "leave them out",
                "version_mismatch",
            )
