"""Changes of the attributes and the metadata of stored items."""

from __future__ import annotations

from typing import Final

import msgspec

from euclidesdb_server.config.server import ServerConfig
from euclidesdb_server.database.json_merge import merged, without
from euclidesdb_server.database.requests import UpdateRequest
from euclidesdb_server.database.validation import (
    check_attributes,
    check_id,
    check_metadata,
    check_request_key,
)
from euclidesdb_server.errors import CorruptRecord, InvalidRequest
from euclidesdb_server.store import ItemRecord

MAX_REMOVED: Final = 1000
"""Attributes that one update may remove by name."""


def check_update(request: UpdateRequest, limits: ServerConfig) -> None:
    """Raise InvalidRequest unless the request changes something, without contradiction."""
    check_id(request.id)
    check_request_key(request.request_key)
    limit = limits.max_attributes_bytes
    replaces, merges = request.attributes_json is not None, request.merge_json is not None
    if replaces and (merges or request.remove_attributes):
        other = "merge_json" if merges else "remove_attributes"
        raise InvalidRequest(
            f"attributes_json and {other} are both set: either replace all attributes or change "
            "some of them"
        )
    if not (replaces or merges or request.remove_attributes or request.metadata is not None):
        raise InvalidRequest(
            "there is nothing to change: set attributes_json, merge_json, remove_attributes or "
            "metadata"
        )
    if request.attributes_json is not None:
        check_attributes(request.id, request.attributes_json, limit)
    if request.merge_json is not None:
        try:
            check_attributes(request.id, request.merge_json, limit)
        except InvalidRequest as error:
            raise InvalidRequest(f"merge_json: {error}") from error
    _check_names(request.remove_attributes, limit)
    if request.metadata is not None:
        check_metadata(request.id, request.metadata, limits.max_metadata_bytes)


def updated(record: ItemRecord, request: UpdateRequest, limits: ServerConfig) -> ItemRecord:
    """The record as the request changes it; an equal one if nothing changes.

    Raises InvalidRequest if the attributes would be too large, CorruptRecord.
    """
    metadata = record.metadata if request.metadata is None else request.metadata
    attributes_json = _attributes(record.attributes_json, request)
    if attributes_json != record.attributes_json:
        check_attributes(request.id, attributes_json, limits.max_attributes_bytes)
    return msgspec.structs.replace(record, attributes_json=attributes_json, metadata=metadata)


def _attributes(stored: str, request: UpdateRequest) -> str:
    if request.attributes_json is not None:
        return request.attributes_json
    try:
        if request.remove_attributes:
            stored = without(stored, request.remove_attributes)
        return stored if request.merge_json is None else merged(stored, request.merge_json)
    except RecursionError as error:
        raise InvalidRequest(
            f"the attributes of item {request.id!r} are nested too deeply to be changed in part: "
            "replace them"
        ) from error
    except (ValueError, IndexError) as error:
        raise CorruptRecord(
            f"the attributes of item {request.id!r} are not a JSON object: {error}"
        ) from error


def _check_names(names: tuple[str, ...], limit: int) -> None:
    if len(names) > MAX_REMOVED:
        raise InvalidRequest(
            f"remove_attributes has {len(names):,} names; the limit is {MAX_REMOVED:,}"
        )
    if (size := sum(map(len, names))) > limit:
        raise InvalidRequest(
            f"remove_attributes has {size:,} characters; [server] max_attributes_bytes permits "
            f"{limit:,}"
        )
    if "" in names:
        raise InvalidRequest(f"remove_attributes has an empty name at {names.index('')}")
