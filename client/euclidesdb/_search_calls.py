"""`SearchCalls`: the operations that find similar items."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy.typing as npt

from euclidesdb import _checks as checks
from euclidesdb import _replies as replies
from euclidesdb import _searches as searches
from euclidesdb._answers import Answer, answers_of
from euclidesdb._checks import ItemId
from euclidesdb._connection import Connection
from euclidesdb._field_warnings import warned
from euclidesdb._images import Image, file_name
from euclidesdb._lists import Answers
from euclidesdb._neighbors import Results
from euclidesdb._operation import operation
from euclidesdb._query_types import Diversity, Examples, Filter, GroupBy
from euclidesdb._search_options import write_options
from euclidesdb._types import ModelVector
from euclidesdb_protos.v1 import database_pb2 as pb


class SearchCalls:
    """A part of both clients, which have the connection."""

    _connection: Connection

    @operation
    async def find_similar(
        self,
        *,
        image: Image | None = None,
        text: str | None = None,
        tensor: npt.ArrayLike | None = None,
        id: ItemId | None = None,  # noqa: A002  the API's name for it
        vector: npt.ArrayLike | ModelVector | None = None,
        examples: Examples | None = None,
        fingerprint: str | None = None,
        model: str | None = None,
        models: Sequence[str] | None = None,
        filter: Filter | None = None,  # noqa: A002  as above
        top_k: int = 10,
        offset: int = 0,
        max_distance: float | None = None,
        exact: bool = False,
        diversity: float | Diversity | None = None,
        group_by: str | GroupBy | None = None,
        fuse: bool = False,
        include_self: bool = False,
        include_attributes: bool = False,
        include_metadata: bool = False,
        include_payload: bool = False,
        include_vectors: bool = False,
        include_predictions: bool = False,
        top_labels: int = 0,
        attribute_names: Iterable[str] | None = None,
        timeout: float | None = None,
    ) -> Results:
        """Find the `top_k` items most similar to a raw item, a stored item, a vector or examples.

        Give exactly one of `image`, `text`, `tensor` (each as for `add`), `id`, `vector` and
        `examples`.

        vector: shape (feature_dim,), for exactly one model; `fingerprint` is the model version
            that made it, if known.
        examples: several items to be like, and several not to be like.
        model, models: the models whose spaces are searched. If neither is given, the server
            chooses: for a raw item, every model that is ready and takes its kind; for a stored
            item, every model served now that has a vector of it. A vector requires one.
        filter: only items that match it: `{"price": {"$lt": 10}}` or `'price < 10'`
            (docs/filters.md).
        offset: leave out so many of the first results.
        max_distance: return only items at most this far away, in the model's metric; negative
            only for "inner_product", as no other metric has negative distances.
        exact: compare with every item, whatever the search engine is.
        diversity: how much results should differ, from 0 to 1, at the cost of nearness.
        group_by: the name of a field: return at most one item for each of its values, or as many
            as a `GroupBy` says. Groups are limited first, and diversity chooses among what is left.
        fuse: also rank the results of all models together, as `fused` of what is returned.
        include_self: for a search by id or by examples, also return the items themselves.
        include_attributes, include_metadata, include_payload, include_vectors,
        include_predictions: return these with each neighbor.
        top_labels: return so many of the most probable classes with each neighbor.
        attribute_names: return these attributes; with dots for those in nested objects.

        Returns the results by model name, in the order of `models`.
        Raises UnknownModel, UnknownItem, UndecodableInput, DimensionMismatch, VersionMismatch,
        ModelUnavailable, ModelFailed, Overloaded, ReplyTooLarge.
        """
        request = pb.FindSimilarRequest(
            top_k=checks.int32("top_k", top_k),
            include_self=checks.flag("include_self", include_self),
            include_attributes=checks.flag("include_attributes", include_attributes),
            include_metadata=checks.flag("include_metadata", include_metadata),
            max_distance=checks.number("max_distance", max_distance),
        )
        write_options(
            request,
            filter=filter,
            offset=offset,
            exact=exact,
            include_payload=include_payload,
            include_vectors=include_vectors,
            include_predictions=include_predictions,
            top_labels=top_labels,
            attribute_names=attribute_names,
            diversity=diversity,
            group_by=group_by,
            fuse=fuse,
        )
        arguments = {
            "image": image,
            "text": text,
            "tensor": tensor,
            "id": id,
            "vector": vector,
            "examples": examples,
        }
        connection = self._connection
        await connection.offload(searches.write_query, request.query, arguments, fingerprint)
        given = request.query.WhichOneof("kind")
        request.models.extend(searches.named_models(model, models, given))
        reply: pb.FindSimilarReply = await connection.call(
            "FindSimilar",
            request,
            connection.call_timeout(timeout),
            file=file_name(image),
        )
        return replies.results(warned(reply), request)

    @operation
    async def find_similar_many(
        self,
        *,
        images: Iterable[Image] | None = None,
        texts: Iterable[str] | None = None,
        tensors: Iterable[npt.ArrayLike] | None = None,
        ids: Iterable[ItemId] | None = None,
        vectors: npt.ArrayLike | None = None,
        examples: Iterable[Examples] | None = None,
        fingerprint: str | None = None,
        model: str | None = None,
        models: Sequence[str] | None = None,
        filter: Filter | None = None,  # noqa: A002  the API's name for it
        top_k: int = 10,
        offset: int = 0,
        max_distance: float | None = None,
        exact: bool = False,
        diversity: float | Diversity | None = None,
        group_by: str | GroupBy | None = None,
        include_self: bool = False,
        include_attributes: bool = False,
        include_metadata: bool = False,
        include_payload: bool = False,
        include_vectors: bool = False,
        include_predictions: bool = False,
        top_labels: int = 0,
        attribute_names: Iterable[str] | None = None,
        timeout: float | None = None,
    ) -> Answers:
        """Answer many queries at once, each as `find_similar` would, in the order given.

        Give exactly one of `images`, `texts`, `tensors`, `ids`, `vectors` and `examples`. The other
        arguments are those of `find_similar`.

        tensors: an iterable of tensors, or one array whose first dimension is that of the queries.
        vectors: real numbers of shape (queries, feature_dim), for exactly one model.
        model, models: if neither is given, the server chooses the models for each call.
        timeout: seconds for each call of at most 1,024 vectors or ids, 128 texts, or 64 images,
            tensors or queries by examples; None: ten times the client's.

        Each answer is a mapping from model names to `Neighbors`. If a query was refused, by the
        server (UnknownItem) or by the client (FileNotFoundError for an image), looking up a model
        in its answer raises the error that `find_similar` would have raised for it; `error` gives
        it without raising:

            for photo, answer in zip(photos, db.find_similar_many(images=photos, model="m")):
                print(photo, answer.error or answer["m"].ids)

        Raises the errors of `find_similar` if a call fails as a whole.
        """
        raw = {"images": images, "texts": texts, "tensors": tensors}
        given, queries = checks.exactly_one(
            {**raw, "ids": ids, "vectors": vectors, "examples": examples}
        )
        if fingerprint is not None and given != "vectors":
            raise ValueError("fingerprint goes with vectors")
        conditions = pb.FindSimilarBatchRequest(
            models=searches.named_models(model, models, given),
            top_k=checks.int32("top_k", top_k),
            include_self=checks.flag("include_self", include_self),
            include_attributes=checks.flag("include_attributes", include_attributes),
            include_metadata=checks.flag("include_metadata", include_metadata),
            max_distance=checks.number("max_distance", max_distance),
        )
        write_options(
            conditions,
            filter=filter,
            offset=offset,
            exact=exact,
            include_payload=include_payload,
            include_vectors=include_vectors,
            include_predictions=include_predictions,
            top_labels=top_labels,
            attribute_names=attribute_names,
            diversity=diversity,
            group_by=group_by,
        )
        connection = self._connection
        seconds = connection.bulk_timeout(timeout)
        answers: list[Answer] = []
        batches = searches.batches(conditions, given, queries, fingerprint)
        while (batch := await connection.offload(next, batches, None)) is not None:
            reply = pb.FindSimilarBatchReply()
            if batch.queries > len(batch.unsent):
                reply = await connection.call("FindSimilarBatch", batch.request, seconds)
            answers.extend(answers_of(warned(reply), batch))
        return Answers(answers)
