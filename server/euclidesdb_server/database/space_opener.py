"""SpaceOpener: from the spaces of the store to those that are searched."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from euclidesdb_server.engines import SearchEngine
from euclidesdb_server.engines.registry import Engines
from euclidesdb_server.index import Compactor, ModelSpace, RecallSampler, SegmentBuilder
from euclidesdb_server.inference import Model
from euclidesdb_server.store import FeatureStore, SpaceRecord


@dataclass(frozen=True, slots=True)
class SpaceOpener:
    """Opens the spaces of a store, and has segments built that they lack."""

    store: FeatureStore
    engines: Engines
    root: Path
    builder: SegmentBuilder
    build_threads: int
    sampler: RecallSampler
    compactor: Compactor
    stop: threading.Event

    def of_model(self, model: Model) -> ModelSpace:
        """The space of a model's version; made if it is new."""
        conf = model.folder.conf
        record = self.store.open_space(conf.name, model.folder.fingerprint, conf.feature_dim)
        return self.open(record, model.folder.engine)

    def open(self, record: SpaceRecord, engine: SearchEngine | None = None) -> ModelSpace:
        """The space of a record; engine: None: the server's."""
        engine = engine or self.engines.for_dim(record.feature_dim)
        space = ModelSpace(
            record,
            engine,
            self.store,
            self.root,
            builder=self.builder,
            build_threads=self.build_threads,
            sampler=self.sampler,
            stop=self.stop,
        )
        self.compactor.consider(space)
        return space
