"""The client of EuclidesDB: add items, get them, find the items most similar to them.

    import euclidesdb

    with euclidesdb.Client("localhost:50000") as db:
        db.add("sku-1", image="shoe.jpg", models=["resnet18"])
        for neighbor in db.find_similar(image="other-shoe.jpg", model="resnet18")["resnet18"]:
            print(neighbor.id, neighbor.distance)

It needs grpcio, protobuf and numpy, and imports no model, index or image library.
"""

from euclidesdb._answers import Answer
from euclidesdb._backup import (
    AsyncBackup,
    AsyncBackupFile,
    Backup,
    BackupFile,
)
from euclidesdb._backup_info import BackedUpModel, BackupInfo
from euclidesdb._changes import AddErrors, Changes, Embeddings
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
from euclidesdb._models import Models
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
from euclidesdb._stats_types import CallStats, Histogram, ModelStats, ServerStats
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

__all__ = [
    "AddErrors",
    "Added",
    "AddsInterrupted",
    "Answer",
    "Answers",
    "AsyncBackup",
    "AsyncBackupFile",
    "AsyncClient",
    "AsyncExport",
    "BackedUpModel",
    "Backup",
    "BackupFile",
    "BackupInProgress",
    "BackupInfo",
    "CallStats",
    "Cancelled",
    "Changes",
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
    "Embeddings",
    "EuclidesDBError",
    "Example",
    "Examples",
    "Export",
    "Failed",
    "FusedNeighbor",
    "FusedNeighbors",
    "GroupBy",
    "Histogram",
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
    "ModelStats",
    "ModelUnavailable",
    "ModelVector",
    "Models",
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
    "ServerStats",
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


def __getattr__(name: str) -> str:
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import metadata  # noqa: PLC0415  takes a tenth of the time of importing this

    try:
        return metadata.version("euclidesdb")
    except metadata.PackageNotFoundError:  # run from a checkout
        return "0+unknown"
