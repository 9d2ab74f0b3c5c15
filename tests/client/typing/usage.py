"""The types of the client's public API, as a type checker sees them in a user's program.

Never run: test_public_types.py has mypy check it against the installed package.
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from io import BytesIO
from typing import Any, assert_type
from uuid import uuid4

import numpy as np
import numpy.typing as npt

import euclidesdb

Vector = npt.NDArray[np.float32]


def writes(db: euclidesdb.Client) -> None:
    written = db.add("a", image="a.png", models=["m"], vectors={"n": [1.0, 2.0]}, timeout=5)
    assert_type(written, euclidesdb.Embeddings)
    assert_type(written[0].vector, Vector | None)
    assert_type(db.add("a", tensor=np.zeros(3), models=("m",)), euclidesdb.Embeddings)
    db.add("b", image=np.zeros((8, 8, 3), np.uint8), models=["m"])
    db.add("c", image=BytesIO(b""), models=["m"])
    items = (euclidesdb.NewItem(str(number), text="a text") for number in range(3))
    refused = db.add_many(items)
    assert_type(refused, euclidesdb.AddErrors[euclidesdb.Refused | euclidesdb.Failed])
    assert_type(refused.changes.added, int)
    assert_type(refused[0].error, Exception)
    vectors = np.zeros((2, 3))
    assert_type(
        db.add_vectors(["a", "b"], vectors, model="m"), euclidesdb.AddErrors[euclidesdb.Refused]
    )
    db.remove("a")
    assert_type(db.update("a", merge={"price": None}, remove=["b"]), dict[str, Any])
    removal = db.remove_many(["a", "b"], dry_run=True)
    assert_type(removal, euclidesdb.Removal)
    assert_type(removal.refused, tuple[euclidesdb.Refused, ...])


def reads(db: euclidesdb.Client) -> None:
    item = db.get("a", include_payload=True)
    assert_type(item, euclidesdb.Item)
    assert_type(item.attributes, Mapping[str, Any])
    assert_type(item.models, tuple[str, ...])
    assert_type(item.image, bytes | None)
    assert_type(item.tensor, npt.NDArray[Any] | None)
    items = db.get_many(["a", "b"], include_vectors=True)
    assert_type(items["a"], euclidesdb.Item)
    assert_type(items.missing, tuple[str, ...])
    assert_type(db.exists("a"), bool)
    db.get_many([1, uuid4(), "a"])
    assert_type(db.items("price < 10"), Iterator[euclidesdb.Item])
    assert_type(db.export(models=["m"]), euclidesdb.Export)
    assert_type(db.export_file("items.parquet"), int)


def searches(db: euclidesdb.Client) -> None:
    found = db.find_similar(vector=euclidesdb.ModelVector([1.0], "f1"), model="m")
    assert_type(found, euclidesdb.Results)
    assert_type(found["m"], euclidesdb.Neighbors)
    assert_type(found.fused, euclidesdb.FusedNeighbors | None)
    examples = euclidesdb.Examples(
        [euclidesdb.Example(id="a"), euclidesdb.Example(image="a.png")],
        negative=[euclidesdb.Example(vector=[1.0])],
    )
    diverse = db.find_similar(
        examples=examples,
        model="m",
        offset=10,
        exact=True,
        diversity=0.3,
        group_by="digits.label",
        top_labels=3,
        attribute_names=["price"],
        include_payload=True,
    )
    for neighbor in diverse["m"]:
        assert_type(neighbor.payload, bytes | str | npt.NDArray[Any] | None)
        assert_type(neighbor.vector, Vector | None)
        assert_type(neighbor.labels, tuple[euclidesdb.LabelProbability, ...] | None)
        assert_type(neighbor.group, bool | int | float | str | None)
    assert_type(found["m"].ids, tuple[str, ...])
    assert_type(found["m"].distances, Vector)
    for neighbor in found["m"]:
        assert_type(neighbor, euclidesdb.Neighbor)
        assert_type(neighbor.distance, float)
    db.find_similar_many(
        examples=[examples],
        diversity=euclidesdb.Diversity(0.5, 100),
        group_by=euclidesdb.GroupBy("brand", 2),
    )
    answers = db.find_similar_many(images=[b"", "a.png"], max_distance=0.5)
    assert_type(answers, euclidesdb.Answers)
    assert_type(answers[0]["m"], euclidesdb.Neighbors)
    assert_type(answers[0].error, Exception | None)


def models(db: euclidesdb.Client) -> None:
    assert_type(db.models(), euclidesdb.Models)
    assert_type(db.models()[0], euclidesdb.ModelInfo)
    assert_type(db.load_model("folder"), euclidesdb.ModelInfo)
    info = db.reload_model("m")
    assert_type(info.index, euclidesdb.IndexInfo | None)
    assert_type(info.labels, tuple[str, ...])
    assert_type(info.disk_bytes, int)
    db.unload_model("m")
    db.drop_model_version("m@f")


async def awaited(db: euclidesdb.AsyncClient) -> None:
    written = await db.add(uuid4(), image="a.png", models=["m"], timeout=5)
    assert_type(written, euclidesdb.Embeddings)

    async def arriving() -> AsyncIterator[euclidesdb.NewItem]:
        yield euclidesdb.NewItem(1, text="a text", models=["m"])

    refused = await db.add_many(arriving())
    assert_type(refused, euclidesdb.AddErrors[euclidesdb.Refused | euclidesdb.Failed])
    stream = db.add_stream(arriving())
    assert_type(stream, AsyncIterator[euclidesdb.Added | euclidesdb.Refused])
    async for outcome in stream:
        assert_type(outcome, euclidesdb.Added | euclidesdb.Refused)
    assert_type(await db.get("a"), euclidesdb.Item)
    assert_type(await db.find_similar(id="a"), euclidesdb.Results)
    async for item in db.items(order_by="price"):
        assert_type(item, euclidesdb.Item)
    export = db.export()
    assert_type(export, euclidesdb.AsyncExport)
    async for batch in export:
        print(batch)
    async with euclidesdb.AsyncClient() as opened:
        assert_type(opened, euclidesdb.AsyncClient)


def errors() -> None:
    try:
        with euclidesdb.Client("localhost", timeout=None) as db:
            assert_type(db, euclidesdb.Client)
    except euclidesdb.AddsInterrupted as error:
        assert_type(error.unknown, tuple[tuple[int, str], ...])
        assert_type(error.resume_at, int)
    except euclidesdb.EuclidesDBError as error:
        assert_type(error.reason, str)


def mistakes(db: euclidesdb.Client) -> None:
    db.add(5.5)  # type: ignore[arg-type]
    db.add("a", image=5)  # type: ignore[arg-type]
    db.add("a", b"an image")  # type: ignore[call-arg]
    db.find_similar(photo=b"")  # type: ignore[call-arg]
    euclidesdb.Neighbor("a", 0.5).distance = 1.0  # type: ignore[misc]


async def forgotten(db: euclidesdb.AsyncClient) -> None:
    print(db.get("a").id)  # type: ignore[attr-defined]  # without await
    await db.get(5.5)  # type: ignore[arg-type]
    for item in db.items():  # type: ignore[attr-defined]  # without async
        print(item)
