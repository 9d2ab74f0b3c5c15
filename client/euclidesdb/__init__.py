"""The client of EuclidesDB: add items, get them, find the items most similar to them.

    import euclidesdb

    with euclidesdb.Client("localhost:50000") as db:
        db.add("sku-1", image="shoe.jpg", models=["resnet18"])
        for neighbor in db.find_similar(image="other-shoe.jpg", model="resnet18")["resnet18"]:
            print(neighbor.id, neighbor.distance)

It needs grpcio, protobuf and numpy, and imports no model, index or image library.
"""

from importlib import metadata as _metadata

from euclidesdb._answers import Answer
from euclidesdb._backup import BackedUpModel, Backup, BackupFile, BackupInfo
from euclidesdb._client import AsyncClient, Client
from euclidesdb._credentials import UnencryptedKeyWarning
from euclidesdb._errors import (
    AddsInterrupted,
    BackupInProgress,
    Cancelled,
    ClientClosed,
    ConnectionFailed,
    CorruptRecord,
    DataLoss,
    DeadlineExceeded,
    DimensionMismatch,
    DiskFull,
    EmbeddingFailed,
    EuclidesDBError,
    Failed,
    InvalidRequest,
    MessageTooLarge,
    ModelFailed,
    ModelRejected,
    ModelUnavailable,
    NotAllowed,
    NotFound,
    Overloaded,
    Refused,
    ReplyTooLarge,
    ResourceExhausted,
    RoleRequired,
    ServerError,
    ShuttingDown,
    Unauthenticated,
    Unavailable,
    UndecodableInput,
    UnknownItem,
    UnknownJob,
    UnknownModel,
    VersionMismatch,
    WriteInDoubt,
)
from euclidesdb._export import AsyncExport, Export
from euclidesdb._field_warnings import UnknownFieldWarning
from euclidesdb._item_sets import Items, Removal
from euclidesdb._job_calls import Job
from euclidesdb._lists import Answers, ItemList
from euclidesdb._neighbors import (
    FusedNeighbor,
    FusedNeighbors,
    LabelProbability,
    Neighbor,
    Neighbors,
    Results,
)
from euclidesdb._query_types import Diversity, Example, Examples, GroupBy
from euclidesdb._states import EmbeddingFailure, ItemState
from euclidesdb._summary_types import (
    CountsByField,
    NumbersByField,
    NumberSummary,
    Page,
    Summary,
    ValueCounts,
)
from euclidesdb._transfers import Imported
from euclidesdb._types import (
    Added,
    Embedding,
    IndexInfo,
    Item,
    ModelInfo,
    ModelVector,
    NewItem,
)

try:
    __version__ = _metadata.version("euclidesdb")
except _metadata.PackageNotFoundError:  # run from a checkout
    __version__ = "0+unknown"

__all__ = [
    "Added",
    "AddsInterrupted",
    "Answer",
    "Answers",
    "AsyncClient",
    "AsyncExport",
    "BackedUpModel",
    "Backup",
    "BackupFile",
    "BackupInProgress",
    "BackupInfo",
    "Cancelled",
    "Client",
    "ClientClosed",
    "ConnectionFailed",
    "CorruptRecord",
    "CountsByField",
    "DataLoss",
    "DeadlineExceeded",
    "DimensionMismatch",
    "DiskFull",
    "Diversity",
    "Embedding",
    "EmbeddingFailed",
    "EmbeddingFailure",
    "EuclidesDBError",
    "Example",
    "Examples",
    "Export",
    "Failed",
    "FusedNeighbor",
    "FusedNeighbors",
    "GroupBy",
    "Imported",
    "IndexInfo",
    "InvalidRequest",
    "Item",
    "ItemList",
    "ItemState",
    "Items",
    "Job",
    "LabelProbability",
    "MessageTooLarge",
    "ModelFailed",
    "ModelInfo",
    "ModelRejected",
    "ModelUnavailable",
    "ModelVector",
    "Neighbor",
    "Neighbors",
    "NewItem",
    "NotAllowed",
    "NotFound",
    "NumberSummary",
    "NumbersByField",
    "Overloaded",
    "Page",
    "Refused",
    "Removal",
    "ReplyTooLarge",
    "ResourceExhausted",
    "Results",
    "RoleRequired",
    "ServerError",
    "ShuttingDown",
    "Summary",
    "Unauthenticated",
    "Unavailable",
    "UndecodableInput",
    "UnencryptedKeyWarning",
    "UnknownFieldWarning",
    "UnknownItem",
    "UnknownJob",
    "UnknownModel",
    "ValueCounts",
    "VersionMismatch",
    "WriteInDoubt",
    "__version__",
]
