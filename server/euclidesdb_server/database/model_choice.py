"""The choice of models for a search, or for an item to add, that names none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace

from euclidesdb_server.database.model_table import ModelTable
from euclidesdb_server.database.requests import (
    AddRequest,
    Example,
    Examples,
    ModelVector,
    ModelVectors,
    Query,
)
from euclidesdb_server.database.search_work import SearchWork
from euclidesdb_server.database.serving import Serving
from euclidesdb_server.database.validation import check_id
from euclidesdb_server.errors import DatabaseError, InvalidRequest
from euclidesdb_server.store import FeatureStore
from euclidesdb_server.values.payload import Payload


def chosen_models(
    queries: Sequence[Query | DatabaseError] | ModelVectors,
    models: ModelTable,
    store: FeatureStore,
    work: SearchWork,
) -> list[Serving]:
    """The models to search.

    For raw items: those that are ready and take their kind; for stored items: those served now that
    have a vector of one of them. For examples that are raw items and stored ones: as for the raw
    items. For examples that are stored items: those that have a vector of all of them.

    Raises InvalidRequest, ModelUnavailable, DeadlineExceeded.
    """
    readable = [] if isinstance(queries, ModelVectors) else queries
    kinds = {_kind(query) for query in readable if not isinstance(query, DatabaseError)}
    if isinstance(queries, ModelVectors) or "vector" in kinds:
        raise InvalidRequest("models is empty: a vector needs the model whose space it is in")
    if not kinds:
        for query in readable:
            if isinstance(query, DatabaseError):
                raise query
        raise InvalidRequest("models is empty, and there is no query to choose them by")
    if len(kinds) > 1:
        raise InvalidRequest(
            f"models is empty, and the queries are of several kinds ({', '.join(sorted(kinds))}"
            "): name the models"
        )
    (kind,) = kinds
    if kind != "id":
        return models.servings_for(kind)
    spaces: set[int] = set()
    for query in readable:
        if isinstance(query, str):
            spaces |= _spaces_of(query, store, work)
        elif isinstance(query, Examples):
            spaces |= _common_spaces(_ids(query), store, work)
    return models.servings_with(spaces)


def with_models(
    requests: Sequence[AddRequest | DatabaseError], models: ModelTable
) -> Sequence[AddRequest | DatabaseError]:
    """The requests; those with a payload that name no model get the only one that takes its kind.

    If there are several, or none, the request becomes InvalidRequest, which names them.
    """
    if not any(_lacks_models(request) for request in requests):
        return requests
    return [_with_model(request, models) for request in requests]


def _lacks_models(request: AddRequest | DatabaseError) -> bool:
    return isinstance(request, AddRequest) and request.payload is not None and not request.models


def _with_model(
    request: AddRequest | DatabaseError, models: ModelTable
) -> AddRequest | DatabaseError:
    if not isinstance(request, AddRequest) or request.payload is None or request.models:
        return request
    kind = request.payload.kind
    served = models.models().items()
    names = [name for name, model in served if model.folder.conf.input == kind]
    if len(names) == 1:
        return replace(request, models=tuple(names))
    if not names:
        return InvalidRequest(f"models is empty, and no model takes {kind}")
    return InvalidRequest(
        f"models is empty, and several models take {kind}: name one or more of "
        f"{', '.join(sorted(names))}"
    )


def _common_spaces(ids: Iterable[str], store: FeatureStore, work: SearchWork) -> set[int]:
    return set.intersection(*(_spaces_of(item_id, store, work) for item_id in dict.fromkeys(ids)))


def _spaces_of(item_id: str, store: FeatureStore, work: SearchWork) -> set[int]:
    """Those that have a vector of the item; an unknown item is its query's own outcome."""
    work.check()
    with suppress(DatabaseError):
        check_id(item_id)
        record = store.item(item_id)
        if record is not None:
            return {*record.labels}
    return set()


def _ids(examples: Examples) -> Iterable[str]:
    return (example for _, example in examples.named() if isinstance(example, str))


def _kind(query: Query) -> str:
    """The kind of input that a query needs, "vector" or "id"."""
    if not isinstance(query, Examples):
        return _kind_of_example(query)
    kinds = {_kind_of_example(example) for _, example in query.named()}
    if "vector" in kinds:
        return "vector"
    payloads = kinds - {"id"}
    if len(payloads) > 1:
        raise InvalidRequest(
            f"models is empty, and the examples are of several kinds ({', '.join(sorted(kinds))}"
            "): name the models"
        )
    return next(iter(payloads), "id")


def _kind_of_example(example: Example) -> str:
    match example:
        case Payload():
            return example.kind
        case ModelVector():
            return "vector"
        case str():
            return "id"
