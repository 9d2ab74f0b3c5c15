"""What each call of the API answers, when it goes well and when it does not.

A call without a case here fails a test.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import euclidesdb
from euclidesdb import NewItem
from tests.contract.both_clients import Use
from tests.support.images import encoded, noise

DIM = 3
VECTOR = [1.0, 2.0, 3.0]
IMAGE = encoded(noise(1))
TRUNCATED = IMAGE[: len(IMAGE) // 2]
GIVEN = {"given": VECTOR}
ITEMS = [NewItem(name, vectors=GIVEN) for name in ("new-1", "new-2")]
TOO_LONG = "x" * 513
FORMER = "tiny@0123456789abcdef"


@dataclass(frozen=True)
class Answers:
    """A use of a call that goes well. holds: what its result must meet."""

    method: str
    use: Use
    holds: Callable[[Any], bool]


@dataclass(frozen=True)
class Refuses:
    """A use of a call that is refused, with an error of this reason."""

    method: str
    use: Use
    reason: str


@dataclass(frozen=True)
class RefusesOne:
    """A use of a call for many, which refuses one of them with an error of this reason."""

    method: str
    use: Use
    reason: str


def adds_alone(item: NewItem) -> Use:
    return lambda db: db.add(item.id, image=item.image, models=item.models, vectors=item.vectors)


def adds(item: NewItem) -> Use:
    return lambda db: db.add_many([NewItem("good", vectors=GIVEN), item])


def streams(item: NewItem) -> Use:
    return lambda db: db.add_stream([NewItem("good", vectors=GIVEN), item])


BAD_ITEMS = {
    "invalid_request": NewItem("", vectors=GIVEN),
    "undecodable_input": NewItem("bad", image=TRUNCATED, models=["tiny"]),
    "dimension_mismatch": NewItem("bad", vectors={"given": [1.0]}),
    "version_mismatch": NewItem(
        "bad", vectors={"given": euclidesdb.ModelVector(VECTOR, fingerprint="another")}
    ),
    "unknown_model": NewItem("bad", vectors={"nothing": VECTOR}),
}

ANSWERS = [
    Answers("AddItem", lambda db: db.add("new", image=IMAGE, models=["tiny"]),
            lambda made: [each.model for each in made] == ["tiny"]),
    Answers("AddItem", lambda db: db.add("new", image=IMAGE),
            lambda made: [each.model for each in made] == ["tiny"]),
    Answers("AddItem", lambda db: db.add(7, vectors=GIVEN, include_vectors=True),
            lambda made: made[0].vector.tolist() == VECTOR),
    Answers("AddItems", lambda db: db.add_many(ITEMS), lambda refused: refused == ()),
    Answers("AddVectors", lambda db: db.add_vectors([1, "b"], np.ones((2, DIM)), model="given"),
            lambda refused: refused == ()),
    Answers("AddItemStream", lambda db: db.add_stream(ITEMS),
            lambda outcomes: [each.id for each in outcomes] == ["new-1", "new-2"]),
    Answers("GetItem", lambda db: db.get("a", include_payload=True),
            lambda item: (item.image, item.attributes) == (IMAGE, {"n": 1})),
    Answers("GetItems", lambda db: db.get_many(["b", "nobody", "a"]),
            lambda items: ([*items], items.missing) == (["b", "a"], ("nobody",))),
    Answers("GetItems", lambda db: db.exists("a"), lambda found: found is True),
    Answers("UpdateItem", lambda db: db.update("a", merge={"m": 2}),
            lambda attributes: attributes == {"n": 1, "m": 2}),
    Answers("CountItems", lambda db: db.count("n < 3"), lambda count: count == 2),
    Answers("ListItems", lambda db: db.items("n < 3", order_by="n", descending=True),
            lambda items: [item.id for item in items] == ["b", "a"]),
    Answers("ListItems", lambda db: db.page(page_size=1),
            lambda page: len(page) == 1 and page.next_page),
    Answers("SampleItems", lambda db: db.sample(1, "n < 3", seed=3),
            lambda items: len(items) == 1),
    Answers("SummarizeItems", lambda db: db.summarize(count_by=["n"], numbers=["n"]),
            lambda summary: summary.numbers["n"].max == 2),
    Answers("RemoveItems", lambda db: db.remove_many(["a", "nobody"]),
            lambda removal: (removal.removed, removal.missing) == (1, ("nobody",))),
    Answers("RemoveItems", lambda db: db.remove_many(filter="n > 0", dry_run=True),
            lambda removal: removal.removed == 2),
    Answers("ExportItems", lambda db: db.export(include_payloads=True).to_arrow(),
            lambda table: table["id"].to_pylist() == ["a", "b"]),
    Answers("StartEmbedding", lambda db: db.embed("tiny", "n > 99"),
            lambda job: job.model == "tiny"),
    Answers("ListJobs", lambda db: db.jobs(), lambda jobs: isinstance(jobs, tuple)),
    Answers("RemoveItem", lambda db: db.remove("a"), lambda nothing: nothing is None),
    Answers("FindSimilar", lambda db: db.find_similar(id="a", model="given"),
            lambda found: found["given"].ids == ("b",)),
    Answers("FindSimilar", lambda db: db.find_similar(image=IMAGE, include_attributes=True),
            lambda found: found["tiny"][0].attributes == {"n": 1}),
    Answers("FindSimilarBatch", lambda db: db.find_similar_many(ids=["a", "b"], model="given"),
            lambda answers: [each["given"].ids for each in answers] == [("b",), ("a",)]),
    Answers("ListModels", lambda db: db.models(),
            lambda models: {"tiny", "given"} <= {model.name for model in models}),
    Answers("Stats", lambda db: db.stats(), lambda stats: len(stats.models) >= 2),
    Answers("LoadModel", lambda db: db.load_model("tiny"), lambda info: info.state == "ready"),
    Answers("LoadModel", lambda db: db.reload_model("tiny"), lambda info: info.name == "tiny"),
]  # fmt: skip

REFUSES = [
    *(Refuses("AddItem", adds_alone(item), reason)
      for reason, item in BAD_ITEMS.items()),
    Refuses("AddItem", lambda db: db.add(TOO_LONG, vectors=GIVEN), "invalid_request"),
    Refuses("AddItem", lambda db: db.add("a", text="no model takes it"), "invalid_request"),
    Refuses("AddVectors", lambda db: db.add_vectors(["a"], [[1.0]], model="given"),
            "dimension_mismatch"),
    Refuses("AddVectors", lambda db: db.add_vectors(["a"], [VECTOR], model="x"), "unknown_model"),
    Refuses("AddVectors", lambda db: db.add_vectors(
        ["a"], [VECTOR], model="given", fingerprint="another"), "version_mismatch"),
    Refuses("GetItem", lambda db: db.get("nobody"), "unknown_item"),
    Refuses("GetItem", lambda db: db.get(""), "invalid_request"),
    Refuses("GetItem", lambda db: db.get("large", include_payload=True), "reply_too_large"),
    Refuses("UpdateItem", lambda db: db.update("nobody", merge={}), "unknown_item"),
    Refuses("UpdateItem", lambda db: db.update("a", metadata=bytes(2 << 20)), "invalid_request"),
    Refuses("CountItems", lambda db: db.count({"$and": [{"n": number} for number in range(9999)]}),
            "invalid_request"),
    Refuses("ListItems", lambda db: db.page(page_size=-1), "invalid_request"),
    Refuses("ListItems", lambda db: db.page(page="not a token"), "invalid_request"),
    Refuses("SampleItems", lambda db: db.sample(0), "invalid_request"),
    Refuses("SummarizeItems", lambda db: db.summarize(count_by=["n"] * 101), "invalid_request"),
    Refuses("ExportItems", lambda db: db.export(models=["nothing"]).to_arrow(), "unknown_model"),
    Refuses("StartEmbedding", lambda db: db.embed("nothing"), "unknown_model"),
    Refuses("StartEmbedding", lambda db: db.embed("given"), "invalid_request"),
    Refuses("StartEmbedding", lambda db: db.embed("tiny", state="done"), "invalid_request"),
    Refuses("GetJob", lambda db: db.job("999"), "unknown_job"),
    Refuses("CancelJob", lambda db: db.cancel_job("x"), "unknown_job"),
    Refuses("RemoveItem", lambda db: db.remove("nobody"), "unknown_item"),
    Refuses("RemoveItem", lambda db: db.remove(TOO_LONG), "invalid_request"),
    Refuses("FindSimilar", lambda db: db.find_similar(id="nobody", model="tiny"), "unknown_item"),
    Refuses("FindSimilar", lambda db: db.find_similar(id="a", model="x"), "unknown_model"),
    Refuses("FindSimilar", lambda db: db.find_similar(id="a", top_k=0), "invalid_request"),
    Refuses("FindSimilar", lambda db: db.find_similar(image=TRUNCATED), "undecodable_input"),
    Refuses("FindSimilar", lambda db: db.find_similar(vector=[1.0], model="given"),
            "dimension_mismatch"),
    Refuses("FindSimilar", lambda db: db.find_similar(
        vector=VECTOR, model="given", fingerprint="another"), "version_mismatch"),
    Refuses("FindSimilar", lambda db: db.find_similar(text="no model takes it"),
            "model_unavailable"),
    Refuses("FindSimilarBatch", lambda db: db.find_similar_many(ids=["a"], model="x"),
            "unknown_model"),
    Refuses("LoadModel", lambda db: db.load_model("nothing"), "model_rejected"),
    Refuses("LoadModel", lambda db: db.reload_model("nothing"), "unknown_model"),
    Refuses("UnloadModel", lambda db: db.unload_model("nothing"), "unknown_model"),
    Refuses("DropModelVersion", lambda db: db.drop_model_version(FORMER), "unknown_model"),
    Refuses("DropModelVersion", lambda db: db.drop_model_version("tiny"), "invalid_request"),
]  # fmt: skip

REFUSES_ONE = [
    *(RefusesOne("AddItems", adds(item), reason) for reason, item in BAD_ITEMS.items()),
    *(RefusesOne("AddItemStream", streams(item), reason) for reason, item in BAD_ITEMS.items()),
    RefusesOne("AddVectors", lambda db: db.add_vectors(
        ["good", ""], [VECTOR, VECTOR], model="given"), "invalid_request"),
    RefusesOne("GetItems", lambda db: db.get_many(["a", ""]), "invalid_request"),
    RefusesOne("RemoveItems", lambda db: db.remove_many(["a", ""]), "invalid_request"),
    RefusesOne("FindSimilarBatch", lambda db: db.find_similar_many(
        ids=["a", "nobody"], model="given"), "unknown_item"),
]  # fmt: skip
