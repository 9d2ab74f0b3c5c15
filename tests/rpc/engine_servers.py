"""A server with a model for each search engine, all with the same items, next to a reference.

All models have the same program, in one worker. The reference holds the vectors that the server
reported as written, and computes every distance from them in float64, by the formulas that
protos/README.md gives.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pytest

import euclidesdb
from euclidesdb_protos.legacy import euclidesproto_pb2 as legacy
from tests.support.calls import Stubs
from tests.support.images import encoded, noise
from tests.support.models import save_model
from tests.support.servers import start_server
from tests.support.waiting import wait_for

Floats: TypeAlias = npt.NDArray[np.float64]
Distance: TypeAlias = Callable[[Floats, Floats], Floats]

IMAGES = 120
REMOVED = range(100, 110)
REPLACED = range(110, 115)
STRING_IDS = 20
"""Items that only v1 can name; all nearer to item 0 than any other item is."""


def p_norm(p: float) -> Distance:
    return lambda query, rows: (np.abs(rows - query) ** p).sum(axis=1) ** (1 / p)


def of_unit_length(distance: Distance) -> Distance:
    return lambda query, rows: distance(
        query / np.linalg.norm(query), rows / np.linalg.norm(rows, axis=1, keepdims=True)
    )


def cosine(query: Floats, rows: Floats) -> Floats:
    return 1 - rows @ query / (np.linalg.norm(rows, axis=1) * np.linalg.norm(query))


def negated_inner_product(query: Floats, rows: Floats) -> Floats:
    return -(rows @ query)


@dataclass(frozen=True)
class Setting:
    """An engine's configuration, and what it is to answer.

    distance: v1's. in_legacy: the legacy service's, from that.
    """

    name: str
    engine: str
    distance: Distance
    metric: str
    options: Mapping[str, str] = field(default_factory=dict)
    in_legacy: Callable[[float], float] = float


def squared(distance: float) -> float:
    return distance * distance


def angular(distance: float) -> float:
    return math.sqrt(2 * max(distance, 0.0))  # rounding takes 1 - cos below 0


ENGINES = [
    Setting("exact", "exact", p_norm(2), "l2"),
    Setting("faiss", "faiss", p_norm(2), "l2", {"metric": "l2"}, squared),
    Setting("hnsw", "faiss", p_norm(2), "l2", {"index_type": "HNSW32"}, squared),
    Setting("annoy", "annoy", cosine, "cosine", {}, angular),
    Setting("disk-2", "exact_disk", of_unit_length(p_norm(2)), "normalized_l2",
            {"pnorm": "2", "normalize": "true"}),
]  # fmt: skip
SETTINGS = [
    *ENGINES,
    Setting("disk-1", "exact_disk", of_unit_length(p_norm(1)), "normalized_l1",
            {"pnorm": "1", "normalize": "true"}),
    Setting("disk-3", "exact_disk", of_unit_length(p_norm(3)), "normalized_l3",
            {"pnorm": "3", "normalize": "true"}),
    Setting("product", "faiss", negated_inner_product, "inner_product",
            {"metric": "inner_product"}, lambda distance: -distance),
]  # fmt: skip

every_engine = pytest.mark.parametrize("loaded", ENGINES, indirect=True, ids=lambda s: s.name)
every_setting = pytest.mark.parametrize("loaded", SETTINGS, indirect=True, ids=lambda s: s.name)


def sample_image(seed: int) -> bytes:
    """Four pixels, a quarter each: so features spread over the whole cube."""
    return encoded(noise(seed, size=2))


class EngineServer:
    """A server with a space for each of SETTINGS, by its name.

    Each space has a segment built from most items, some of which are removed or replaced since.
    """

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self._models = folder / "models"
        for setting in SETTINGS:
            # empty: the server's own, which is the first
            engine = "" if setting is SETTINGS[0] else setting.engine
            save_model(self._models, setting.name, worker="shared", search_engine=engine)
            if setting.options:
                with (self._models / setting.name / "model.conf").open("a") as conf:
                    conf.write(f"[{setting.engine}]\n")
                    conf.writelines(f"{key} = {value}\n" for key, value in setting.options.items())
        self.vectors: dict[str, dict[str, Floats]] = {each.name: {} for each in SETTINGS}
        self._start()
        try:
            self._load()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> EngineServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.client.close()
        self.stubs.channel.close()
        self.server.close()

    def restart(self) -> None:
        self.close()
        self._start()

    def refresh(self) -> None:
        """EuclidesDB's refresh; returns once all rows of each space are in one segment."""
        self.stubs.legacy.Shutdown(legacy.ShutdownRequest(shutdown_type=1))
        wait_for(self._is_compacted, "one segment")

    def _is_compacted(self) -> bool:
        for model in self.client.models():
            index, rows = model.index, len(self.vectors[model.name])
            assert index is not None
            found = (index.segments, index.unindexed_rows, index.indexed_rows, index.building)
            if found != (1, 0, rows, False):
                return False
        return True

    def _start(self) -> None:
        engine = SETTINGS[0].engine
        self.server = start_server(
            self.data, self._models, engine=engine, index={"compact_rows": 50}
        )
        self.client = euclidesdb.Client(self.server.address)
        self.stubs = Stubs(self.server.address)

    def _load(self) -> None:
        for number in range(IMAGES):
            self._add_image(number, sample_image(number))
        near = np.random.default_rng(7).normal(0, 1e-3, (STRING_IDS, 12))
        for number, offset in enumerate(near):
            given = {
                name: (vectors["0"] + offset).astype(np.float32)
                for name, vectors in self.vectors.items()
            }
            self.client.add(f"sku-{number}", vectors=given)
            for name, vector in given.items():
                self.vectors[name][f"sku-{number}"] = vector.astype(np.float64)
        self.refresh()
        for number in REMOVED:
            self.stubs.legacy.RemoveImage(legacy.RemoveImageRequest(image_id=number))
            for vectors in self.vectors.values():
                del vectors[str(number)]
        for number in REPLACED:
            self._add_image(number, sample_image(1000 + number))

    def _add_image(self, number: int, image: bytes) -> None:
        request = legacy.AddImageRequest(image_id=number, image_data=image, models=[*self.vectors])
        for written in self.stubs.legacy.AddImage(request).vectors:
            self.vectors[written.model][str(number)] = np.array(written.features, np.float64)


@dataclass(frozen=True)
class Loaded:
    """One setting's space in the server of all.

    vectors: by id, float64: what a search should find.
    """

    setting: Setting
    server: EngineServer

    @property
    def model(self) -> str:
        return self.setting.name

    @property
    def vectors(self) -> dict[str, Floats]:
        return self.server.vectors[self.model]

    @property
    def client(self) -> euclidesdb.Client:
        return self.server.client

    @property
    def stubs(self) -> Stubs:
        return self.server.stubs

    def expected(self, query: npt.ArrayLike) -> tuple[list[str], Floats]:
        """Every id with its distance, nearest first."""
        ids = list(self.vectors)
        rows = np.array([self.vectors[item_id] for item_id in ids])
        distances = self.setting.distance(np.asarray(query, np.float64), rows)
        order = np.argsort(distances, kind="stable")
        return [ids[row] for row in order], distances[order]
