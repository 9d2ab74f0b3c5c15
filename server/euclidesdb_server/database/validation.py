"""What a request must be before anything is done for it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final, NoReturn

from euclidesdb_server.database.requests import AddRequest, AddVectorsRequest
from euclidesdb_server.errors import InvalidRequest

MAX_ID_BYTES: Final = 512


def check_id(item_id: str) -> None:
    """Raise InvalidRequest unless this can be an item's id."""
    length = len(item_id.encode())
    if not 1 <= length <= MAX_ID_BYTES:
        shown = item_id if length <= 64 else item_id[:48] + "..."
        raise InvalidRequest(f"id {shown!r} has {length} bytes; an id has 1 to {MAX_ID_BYTES}")


def unusable_ids(ids: Sequence[str]) -> dict[int, InvalidRequest]:
    """Of many ids, why some can be no item's, by position."""
    # a letter takes up to four bytes
    doubtful = [row for row, item_id in enumerate(ids) if not 0 < len(item_id) <= MAX_ID_BYTES // 4]
    refused = {}
    for row in doubtful:
        try:
            check_id(ids[row])
        except InvalidRequest as error:
            refused[row] = error
    return refused


def check_add(request: AddRequest) -> None:
    """Raise InvalidRequest unless there is something to add, and it makes sense."""
    check_id(request.id)
    if request.payload is not None and not request.models:
        raise InvalidRequest("a payload needs at least one model to embed it: models is empty")
    if request.payload is None and request.models:
        raise InvalidRequest(f"nothing to embed with {list(request.models)}: payload is not set")
    if request.payload is None and not request.vectors:
        raise InvalidRequest("nothing to add: neither payload and models, nor vectors")
    if both := sorted(set(request.models) & set(request.vectors)):
        raise InvalidRequest(f"models {both} are to embed the payload, and have a vector too")
    if request.attributes_json is not None:
        check_attributes(request.attributes_json)


def distinct(models: Sequence[str]) -> list[str]:
    """The models named, each once, in order. Raises InvalidRequest where there are none."""
    if not models:
        raise InvalidRequest("models is empty: name at least one")
    return list(dict.fromkeys(models))


def check_columns(request: AddVectorsRequest) -> None:
    """Raise InvalidRequest unless the columns are as long as one another."""
    wanted = len(request.ids)
    lengths = {"vectors": len(request.vectors.values)}
    if request.attributes_json is not None:
        lengths["attributes_json"] = len(request.attributes_json)
    if request.metadata is not None:
        lengths["metadata"] = len(request.metadata)
    for name, length in lengths.items():
        if length != wanted:
            raise InvalidRequest(f"{name} has {length} rows for {wanted} ids")


def check_attributes(attributes_json: str) -> None:
    """Raise InvalidRequest unless it is a JSON object."""
    try:
        attributes = json.loads(attributes_json, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"attributes are no JSON: {error}") from error
    if not isinstance(attributes, dict):
        raise InvalidRequest(f"attributes should be a JSON object, not {attributes_json[:64]!r}")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
