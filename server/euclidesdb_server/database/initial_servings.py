"""What the names of models stand for when the server starts."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from euclidesdb_server.database.serving import Serving, superseded_serving
from euclidesdb_server.database.space_opener import SpaceOpener
from euclidesdb_server.database.superseded_space import SupersededSpace
from euclidesdb_server.inference import ModelRegistry
from euclidesdb_server.store import FeatureStore
from euclidesdb_server.values.status import ModelState


def initial_servings(
    store: FeatureStore, registry: ModelRegistry, opener: SpaceOpener
) -> Iterator[Serving]:
    """The models, and the spaces without a model.

    A name without a model stands for the newest version of it that is stored. Other versions are
    not opened.
    """
    records = store.spaces()
    known = {(record.model, record.fingerprint, record.feature_dim) for record in records}
    names, numbers = set[str](), set[int]()
    for name, model in registry.models.items():
        version = (name, model.folder.fingerprint, model.folder.conf.feature_dim)
        # A model that never was ready has not proved its model.conf right, unless it did so before.
        unproved = model.state[0] in (ModelState.QUARANTINED, ModelState.LOADING)
        has_space = not unproved or version in known
        space = opener.of_model(model) if has_space else None
        names.add(name)
        numbers |= set() if space is None else {space.record.number}
        yield Serving(name, model, space)
    for record in reversed(records):
        if record.number in numbers:
            continue
        served = registry.models.get(record.model)
        same_length = served and served.folder.conf.feature_dim == record.feature_dim
        engine = served.folder.engine if served and same_length else None
        open_space = functools.partial(opener.open, record, engine)
        if record.model in names:
            yield superseded_serving(SupersededSpace(record, open_space))
        else:
            names.add(record.model)
            yield Serving(record.model, None, open_space())
