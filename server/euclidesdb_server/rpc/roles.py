"""The role that each method requires: the one table of permissions.

None: every caller may, also without an API key. A method that is not here requires `admin`; a test
fails on one that is served and not here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from euclidesdb_server.values.role import Role

_V1: Final = {
    "AddItem": Role.WRITE,
    "AddItems": Role.WRITE,
    "AddItemStream": Role.WRITE,
    "AddVectors": Role.WRITE,
    "Backup": Role.ADMIN,
    "CancelJob": Role.WRITE,
    "CountItems": Role.READ,
    "DropModelVersion": Role.ADMIN,
    "ExportItems": Role.READ,
    "FindSimilar": Role.READ,
    "FindSimilarBatch": Role.READ,
    "GetItem": Role.READ,
    "GetItems": Role.READ,
    "GetJob": Role.READ,
    "ImportItems": Role.WRITE,
    "ListItems": Role.READ,
    "ListJobs": Role.READ,
    "ListModels": Role.READ,
    "LoadModel": Role.ADMIN,
    "RemoveItem": Role.WRITE,
    "RemoveItems": Role.WRITE,
    "SampleItems": Role.READ,
    "StartEmbedding": Role.WRITE,
    "Stats": Role.READ,
    "SummarizeItems": Role.READ,
    "UnloadModel": Role.ADMIN,
    "UpdateItem": Role.WRITE,
}
_LEGACY: Final = {
    "AddImage": Role.WRITE,
    "FindSimilarImage": Role.READ,
    "FindSimilarImageById": Role.READ,
    "RemoveImage": Role.WRITE,
    "Shutdown": Role.ADMIN,
}

ROLES: Final[Mapping[str, Role | None]] = {
    **{f"/euclidesdb.v1.FeatureDatabase/{name}": role for name, role in _V1.items()},
    **{f"/euclidesproto.Similar/{name}": role for name, role in _LEGACY.items()},
    # probes of Kubernetes cannot send metadata
    "/grpc.health.v1.Health/Check": None,
    "/grpc.health.v1.Health/List": None,
    "/grpc.health.v1.Health/Watch": None,
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo": Role.READ,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": Role.READ,
}
"""By the path of the method."""


def required_role(path: str) -> Role | None:
    """The role that a call to the method at `path` requires; None: none."""
    return ROLES.get(path, Role.ADMIN)
