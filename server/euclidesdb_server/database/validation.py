"""Checks of a request, made before anything is done for it."""

from __future__ import annotations

import json
import math
import re
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, Final, NoReturn

import msgspec
import numpy as np

from euclidesdb_server.config.server import ServerConfig
from euclidesdb_server.database.model_table import ModelTable
from euclidesdb_server.database.requests import AddRequest
from euclidesdb_server.engines.distances import extremes
from euclidesdb_server.errors import (
    DatabaseError,
    DimensionMismatch,
    InvalidRequest,
    UnknownModel,
    VersionMismatch,
)
from euclidesdb_server.index import ModelSpace
from euclidesdb_server.store import FeatureStore, SpaceRecord
from euclidesdb_server.values.arrays import Matrix, Vector
from euclidesdb_server.values.vector_columns import VectorColumns

MAX_ID_BYTES: Final = 512
SHOWN: Final = 64
"""Characters; a longer id is abbreviated in messages."""
DOT_PRODUCT_SIZE: Final = 4096
"""So few values are all finite if their squares add up to a finite number, which is quicker to find
out than by looking at each. BLAS may start threads for more."""

TEXTS_AT_A_TIME: Final = 64
CHARACTERS_AT_A_TIME: Final = 1 << 18
"""Limits of the attributes that are parsed without other threads having a turn: it holds the
GIL."""

MAX_DEPTH: Final = 64
"""Of objects and lists in attributes, the outermost object included."""

_STRINGS: Final = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKETS: Final = re.compile(r"[\[\]{}]")
_OBJECT: Final = msgspec.json.Decoder(dict[str, Any])

MIN_REQUEST_KEY: Final = 8
MAX_REQUEST_KEY: Final = 64


def check_id(item_id: str) -> None:
    """Raise InvalidRequest unless this can be the id of an item."""
    length = len(item_id.encode())
    if not 1 <= length <= MAX_ID_BYTES:
        raise InvalidRequest(
            f"id {_shown(item_id)} has {length} bytes; an id has 1 to {MAX_ID_BYTES}"
        )


def check_ids(ids: Sequence[str]) -> dict[int, DatabaseError]:
    """Why some of many ids cannot be the id of an item, by position."""
    errors: dict[int, DatabaseError] = {}
    lengths = [*map(len, ids)]
    certain = MAX_ID_BYTES // 4  # a character takes up to four bytes
    if min(lengths, default=1) > 0 and max(lengths, default=1) <= certain:
        return errors
    for row in [row for row, length in enumerate(lengths) if not 0 < length <= certain]:
        try:
            check_id(ids[row])
        except InvalidRequest as error:
            errors[row] = error
    return errors


def check_request_key(key: bytes) -> None:
    """Raise InvalidRequest for a key that others might use, too; none at all is allowed."""
    if key and not MIN_REQUEST_KEY <= len(key) <= MAX_REQUEST_KEY:
        raise InvalidRequest(
            f"request_key must have {MIN_REQUEST_KEY} to {MAX_REQUEST_KEY} random bytes, not "
            f"{len(key)}"
        )


def check_add(request: AddRequest, limits: ServerConfig) -> None:
    """Raise InvalidRequest unless the request adds something, without contradiction."""
    check_id(request.id)
    check_request_key(request.request_key)
    if request.payload is not None and not request.models:
        raise InvalidRequest("models is empty: name at least one model to embed the payload with")
    if request.payload is None and request.models:
        raise InvalidRequest(f"payload is not set: models {list(request.models)} need one to embed")
    if request.payload is None and not request.vectors:
        raise InvalidRequest("there is nothing to add: set payload and models, or vectors")
    if both := sorted(set(request.models) & set(request.vectors)):
        raise InvalidRequest(
            f"models {both} are named in models and in vectors: either embed the payload with a "
            "model or give its vector"
        )
    if request.attributes_json is not None:
        check_attributes(request.id, request.attributes_json, limits.max_attributes_bytes)
    if request.metadata is not None:
        check_metadata(request.id, request.metadata, limits.max_metadata_bytes)


def check_columns(columns: VectorColumns) -> None:
    """Raise InvalidRequest unless all columns have the same length."""
    lengths = {"vectors": len(columns.vectors)}
    if columns.attributes_json is not None:
        lengths["attributes_json"] = len(columns.attributes_json)
    if columns.metadata is not None:
        lengths["metadata"] = len(columns.metadata)
    for name, length in lengths.items():
        if length != len(columns):
            raise InvalidRequest(f"{name} has {length} rows for {len(columns)} ids")


def check_texts(columns: VectorColumns, limits: ServerConfig) -> dict[int, DatabaseError]:
    """Why the attributes or the metadata of some items cannot be stored, by position."""
    errors: dict[int, DatabaseError] = {}
    texts, metadata = columns.attributes_json or (), columns.metadata or ()
    for start in range(0, len(texts), TEXTS_AT_A_TIME):
        part = texts[start : start + TEXTS_AT_A_TIME]
        if _are_objects(part, limits.max_attributes_bytes):
            continue
        for row, attributes_json in enumerate(part, start):
            try:
                check_attributes(columns.ids[row], attributes_json, limits.max_attributes_bytes)
            except InvalidRequest as error:
                errors[row] = error
    if max(map(len, metadata), default=0) > limits.max_metadata_bytes:
        for row, data in enumerate(metadata):
            try:
                check_metadata(columns.ids[row], data, limits.max_metadata_bytes)
            except InvalidRequest as error:
                errors[row] = error
    return errors


def _are_objects(texts: Sequence[str], limit: int) -> bool:
    """Whether `check_attributes` would accept all of these, as far as it is quick to tell."""
    lengths = [*map(len, texts)]
    if max(lengths) * 4 > limit or sum(lengths) > CHARACTERS_AT_A_TIME:
        return False
    if any(map(_may_be_deep, texts)):
        return False
    try:
        deque(map(_OBJECT.decode, texts), maxlen=0)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return False
    return True


def check_attributes(item_id: str, attributes_json: str, limit: int) -> None:
    """Raise InvalidRequest unless it is a JSON object of at most `limit` bytes.

    The size is checked first: parsing holds the GIL, and so delays all other calls.
    """
    # a character takes up to four bytes
    size = len(attributes_json)
    if size * 4 > limit and (size := len(attributes_json.encode())) > limit:
        raise InvalidRequest(
            f"the attributes of item {_shown(item_id)} have {size:,} bytes of JSON; [server] "
            f"max_attributes_bytes permits {limit:,}"
        )
    _check_depth(item_id, attributes_json)
    try:
        _OBJECT.decode(attributes_json)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        _check_object(attributes_json)


def _check_depth(item_id: str, attributes_json: str) -> None:
    """Raise InvalidRequest if objects and lists are nested too deeply for some parser to read."""
    if not _may_be_deep(attributes_json):
        return
    depth = 0
    for bracket in _BRACKETS.findall(_STRINGS.sub("", attributes_json)):
        depth += 1 if bracket in "[{" else -1
        if depth > MAX_DEPTH:
            raise InvalidRequest(
                f"the attributes of item {_shown(item_id)} have lists and objects nested more than "
                f"{MAX_DEPTH} deep"
            )


def _may_be_deep(attributes_json: str) -> bool:
    return attributes_json.count("[") + attributes_json.count("{") > MAX_DEPTH


def check_metadata(item_id: str, metadata: bytes, limit: int) -> None:
    """Raise InvalidRequest if it has more than `limit` bytes."""
    if len(metadata) > limit:
        raise InvalidRequest(
            f"the metadata of item {_shown(item_id)} has {len(metadata):,} bytes; [server] "
            f"max_metadata_bytes permits {limit:,}"
        )


def _check_object(attributes_json: str) -> None:
    """Raise InvalidRequest unless the standard library reads a JSON object.

    It has the last word, and the words of the message: clients read attributes with it. It takes
    some things that msgspec does not, a number that becomes infinite or half a surrogate pair, and
    is 6 to 16 times as slow.
    """
    try:
        attributes = json.loads(attributes_json, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"attributes is not valid JSON: {error}") from error
    if not isinstance(attributes, dict):
        raise InvalidRequest(f"attributes should be a JSON object, not {attributes_json[:64]!r}")


def check_vector(
    space: SpaceRecord, vector: Vector, fingerprint: str | None, models: ModelTable
) -> None:
    """Raise unless the vector fits the space: VersionMismatch, DimensionMismatch, InvalidRequest.

    fingerprint: of the version that made the vector, if it is known.
    """
    if (
        vector.shape == (space.feature_dim,)
        and fingerprint in (None, "", space.fingerprint)
        and all(map(math.isfinite, extremes(vector)))
    ):
        return
    if vector.ndim != 1:
        raise _wrong_shape(space, vector.shape)
    for error in check_vectors(space, vector[np.newaxis], fingerprint, models).values():
        raise error


def check_version(
    space: SpaceRecord, fingerprint: str | None, models: ModelTable, what: str
) -> None:
    """Raise VersionMismatch if the version is known, and not that of the space.

    what: is of the version.
    """
    if fingerprint not in (None, "", space.fingerprint):
        name = models.superseded_name(space.model, fingerprint)
        hint = "" if name is None else f"; items of that version can be searched as {name!r}"
        raise VersionMismatch(
            f"{what} is of version {fingerprint!r} of model {space.model!r}, but "
            f"{space.fingerprint!r} is served{hint}"
        )


def check_vectors(
    space: SpaceRecord, vectors: Matrix, fingerprint: str | None, models: ModelTable
) -> dict[int, DatabaseError]:
    """Why some of many vectors do not fit the space, by position.

    fingerprint: as in `check_vector`. Raises VersionMismatch or DimensionMismatch if none does.
    """
    check_version(space, fingerprint, models, "the vector")
    if vectors.ndim != 2 or vectors.shape[1] != space.feature_dim:
        raise _wrong_shape(space, vectors.shape[1:])
    if vectors.size <= DOT_PRODUCT_SIZE and math.isfinite(np.vdot(vectors, vectors)):
        return {}
    finite = np.isfinite(vectors)
    if finite.all():
        return {}
    errors: dict[int, DatabaseError] = {}
    for row in np.flatnonzero(~finite.all(axis=1)).tolist():
        column = int(np.flatnonzero(~finite[row])[0])
        errors[row] = InvalidRequest(
            f"a vector of model {space.model!r} has {vectors[row, column]} at position {column}; "
            "all values must be finite"
        )
    return errors


def check_not_dropped(spaces: Iterable[ModelSpace], store: FeatureStore) -> None:
    """Raise UnknownModel if a version that is about to be written to has been dropped.

    To be called with labels in flight: a drop waits for these before it deletes.
    """
    for record in [space.record for space in spaces]:
        if store.space_table.is_dropped(record.number):
            raise UnknownModel(
                f"version {record.fingerprint!r} of model {record.model!r} has been dropped"
            )


def _wrong_shape(space: SpaceRecord, shape: tuple[int, ...]) -> DimensionMismatch:
    return DimensionMismatch(
        f"a vector of model {space.model!r} has shape ({space.feature_dim},), not {shape}"
    )


def _shown(item_id: str) -> str:
    return repr(item_id if len(item_id) <= SHOWN else item_id[:48] + "...")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
