from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DataType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DATA_TYPE_UNSPECIFIED: _ClassVar[DataType]
    DATA_TYPE_FLOAT32: _ClassVar[DataType]
    DATA_TYPE_FLOAT64: _ClassVar[DataType]
    DATA_TYPE_FLOAT16: _ClassVar[DataType]
    DATA_TYPE_INT8: _ClassVar[DataType]
    DATA_TYPE_INT16: _ClassVar[DataType]
    DATA_TYPE_INT32: _ClassVar[DataType]
    DATA_TYPE_INT64: _ClassVar[DataType]
    DATA_TYPE_UINT8: _ClassVar[DataType]
    DATA_TYPE_BOOL: _ClassVar[DataType]

class ModelState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MODEL_STATE_UNSPECIFIED: _ClassVar[ModelState]
    MODEL_STATE_LOADING: _ClassVar[ModelState]
    MODEL_STATE_READY: _ClassVar[ModelState]
    MODEL_STATE_RESTARTING: _ClassVar[ModelState]
    MODEL_STATE_QUARANTINED: _ClassVar[ModelState]
    MODEL_STATE_UNLOADED: _ClassVar[ModelState]
    MODEL_STATE_SUPERSEDED: _ClassVar[ModelState]
DATA_TYPE_UNSPECIFIED: DataType
DATA_TYPE_FLOAT32: DataType
DATA_TYPE_FLOAT64: DataType
DATA_TYPE_FLOAT16: DataType
DATA_TYPE_INT8: DataType
DATA_TYPE_INT16: DataType
DATA_TYPE_INT32: DataType
DATA_TYPE_INT64: DataType
DATA_TYPE_UINT8: DataType
DATA_TYPE_BOOL: DataType
MODEL_STATE_UNSPECIFIED: ModelState
MODEL_STATE_LOADING: ModelState
MODEL_STATE_READY: ModelState
MODEL_STATE_RESTARTING: ModelState
MODEL_STATE_QUARANTINED: ModelState
MODEL_STATE_UNLOADED: ModelState
MODEL_STATE_SUPERSEDED: ModelState

class Array(_message.Message):
    __slots__ = ("data_type", "shape", "data")
    DATA_TYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    data_type: DataType
    shape: _containers.RepeatedScalarFieldContainer[int]
    data: bytes
    def __init__(self, data_type: _Optional[_Union[DataType, str]] = ..., shape: _Optional[_Iterable[int]] = ..., data: _Optional[bytes] = ...) -> None: ...

class Payload(_message.Message):
    __slots__ = ("image", "text", "tensor")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    TENSOR_FIELD_NUMBER: _ClassVar[int]
    image: bytes
    text: str
    tensor: Array
    def __init__(self, image: _Optional[bytes] = ..., text: _Optional[str] = ..., tensor: _Optional[_Union[Array, _Mapping]] = ...) -> None: ...

class Vector(_message.Message):
    __slots__ = ("values", "fingerprint")
    VALUES_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    values: Array
    fingerprint: str
    def __init__(self, values: _Optional[_Union[Array, _Mapping]] = ..., fingerprint: _Optional[str] = ...) -> None: ...

class AddItemRequest(_message.Message):
    __slots__ = ("id", "payload", "vectors", "models", "attributes_json", "metadata", "include_vectors", "include_predictions")
    class VectorsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Vector
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Vector, _Mapping]] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_JSON_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_VECTORS_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_PREDICTIONS_FIELD_NUMBER: _ClassVar[int]
    id: str
    payload: Payload
    vectors: _containers.MessageMap[str, Vector]
    models: _containers.RepeatedScalarFieldContainer[str]
    attributes_json: str
    metadata: bytes
    include_vectors: bool
    include_predictions: bool
    def __init__(self, id: _Optional[str] = ..., payload: _Optional[_Union[Payload, _Mapping]] = ..., vectors: _Optional[_Mapping[str, Vector]] = ..., models: _Optional[_Iterable[str]] = ..., attributes_json: _Optional[str] = ..., metadata: _Optional[bytes] = ..., include_vectors: _Optional[bool] = ..., include_predictions: _Optional[bool] = ...) -> None: ...

class AddItemReply(_message.Message):
    __slots__ = ("embeddings",)
    EMBEDDINGS_FIELD_NUMBER: _ClassVar[int]
    embeddings: _containers.RepeatedCompositeFieldContainer[Embedding]
    def __init__(self, embeddings: _Optional[_Iterable[_Union[Embedding, _Mapping]]] = ...) -> None: ...

class Embedding(_message.Message):
    __slots__ = ("model", "fingerprint", "vector", "predictions")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    VECTOR_FIELD_NUMBER: _ClassVar[int]
    PREDICTIONS_FIELD_NUMBER: _ClassVar[int]
    model: str
    fingerprint: str
    vector: Array
    predictions: Array
    def __init__(self, model: _Optional[str] = ..., fingerprint: _Optional[str] = ..., vector: _Optional[_Union[Array, _Mapping]] = ..., predictions: _Optional[_Union[Array, _Mapping]] = ...) -> None: ...

class Refusal(_message.Message):
    __slots__ = ("position", "code", "reason", "message")
    POSITION_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    position: int
    code: int
    reason: str
    message: str
    def __init__(self, position: _Optional[int] = ..., code: _Optional[int] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class AddItemsRequest(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[AddItemRequest]
    def __init__(self, items: _Optional[_Iterable[_Union[AddItemRequest, _Mapping]]] = ...) -> None: ...

class AddItemsReply(_message.Message):
    __slots__ = ("items", "refused")
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[AddItemReply]
    refused: _containers.RepeatedCompositeFieldContainer[Refusal]
    def __init__(self, items: _Optional[_Iterable[_Union[AddItemReply, _Mapping]]] = ..., refused: _Optional[_Iterable[_Union[Refusal, _Mapping]]] = ...) -> None: ...

class AddVectorsRequest(_message.Message):
    __slots__ = ("model", "fingerprint", "ids", "vectors", "attributes_json", "metadata")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_JSON_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    model: str
    fingerprint: str
    ids: _containers.RepeatedScalarFieldContainer[str]
    vectors: Array
    attributes_json: _containers.RepeatedScalarFieldContainer[str]
    metadata: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, model: _Optional[str] = ..., fingerprint: _Optional[str] = ..., ids: _Optional[_Iterable[str]] = ..., vectors: _Optional[_Union[Array, _Mapping]] = ..., attributes_json: _Optional[_Iterable[str]] = ..., metadata: _Optional[_Iterable[bytes]] = ...) -> None: ...

class AddVectorsReply(_message.Message):
    __slots__ = ("refused",)
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    refused: _containers.RepeatedCompositeFieldContainer[Refusal]
    def __init__(self, refused: _Optional[_Iterable[_Union[Refusal, _Mapping]]] = ...) -> None: ...

class GetItemRequest(_message.Message):
    __slots__ = ("id", "include_vectors", "include_predictions", "include_payload")
    ID_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_VECTORS_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_PREDICTIONS_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    id: str
    include_vectors: bool
    include_predictions: bool
    include_payload: bool
    def __init__(self, id: _Optional[str] = ..., include_vectors: _Optional[bool] = ..., include_predictions: _Optional[bool] = ..., include_payload: _Optional[bool] = ...) -> None: ...

class GetItemReply(_message.Message):
    __slots__ = ("item",)
    ITEM_FIELD_NUMBER: _ClassVar[int]
    item: Item
    def __init__(self, item: _Optional[_Union[Item, _Mapping]] = ...) -> None: ...

class Item(_message.Message):
    __slots__ = ("id", "attributes_json", "metadata", "embeddings", "payload")
    ID_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_JSON_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    EMBEDDINGS_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    id: str
    attributes_json: str
    metadata: bytes
    embeddings: _containers.RepeatedCompositeFieldContainer[Embedding]
    payload: Payload
    def __init__(self, id: _Optional[str] = ..., attributes_json: _Optional[str] = ..., metadata: _Optional[bytes] = ..., embeddings: _Optional[_Iterable[_Union[Embedding, _Mapping]]] = ..., payload: _Optional[_Union[Payload, _Mapping]] = ...) -> None: ...

class RemoveItemRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class RemoveItemReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Query(_message.Message):
    __slots__ = ("payload", "vector", "id")
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    VECTOR_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    payload: Payload
    vector: Vector
    id: str
    def __init__(self, payload: _Optional[_Union[Payload, _Mapping]] = ..., vector: _Optional[_Union[Vector, _Mapping]] = ..., id: _Optional[str] = ...) -> None: ...

class FindSimilarRequest(_message.Message):
    __slots__ = ("query", "models", "top_k", "include_self", "include_attributes", "include_metadata", "max_distance")
    QUERY_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_SELF_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_METADATA_FIELD_NUMBER: _ClassVar[int]
    MAX_DISTANCE_FIELD_NUMBER: _ClassVar[int]
    query: Query
    models: _containers.RepeatedScalarFieldContainer[str]
    top_k: int
    include_self: bool
    include_attributes: bool
    include_metadata: bool
    max_distance: float
    def __init__(self, query: _Optional[_Union[Query, _Mapping]] = ..., models: _Optional[_Iterable[str]] = ..., top_k: _Optional[int] = ..., include_self: _Optional[bool] = ..., include_attributes: _Optional[bool] = ..., include_metadata: _Optional[bool] = ..., max_distance: _Optional[float] = ...) -> None: ...

class FindSimilarReply(_message.Message):
    __slots__ = ("answers",)
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    answers: _containers.RepeatedCompositeFieldContainer[ModelAnswer]
    def __init__(self, answers: _Optional[_Iterable[_Union[ModelAnswer, _Mapping]]] = ...) -> None: ...

class ModelAnswer(_message.Message):
    __slots__ = ("model", "fingerprint", "metric", "neighbors")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    NEIGHBORS_FIELD_NUMBER: _ClassVar[int]
    model: str
    fingerprint: str
    metric: str
    neighbors: _containers.RepeatedCompositeFieldContainer[Neighbor]
    def __init__(self, model: _Optional[str] = ..., fingerprint: _Optional[str] = ..., metric: _Optional[str] = ..., neighbors: _Optional[_Iterable[_Union[Neighbor, _Mapping]]] = ...) -> None: ...

class Neighbor(_message.Message):
    __slots__ = ("id", "distance", "attributes_json", "metadata")
    ID_FIELD_NUMBER: _ClassVar[int]
    DISTANCE_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_JSON_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    id: str
    distance: float
    attributes_json: str
    metadata: bytes
    def __init__(self, id: _Optional[str] = ..., distance: _Optional[float] = ..., attributes_json: _Optional[str] = ..., metadata: _Optional[bytes] = ...) -> None: ...

class VectorQueries(_message.Message):
    __slots__ = ("values", "fingerprint")
    VALUES_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    values: Array
    fingerprint: str
    def __init__(self, values: _Optional[_Union[Array, _Mapping]] = ..., fingerprint: _Optional[str] = ...) -> None: ...

class FindSimilarBatchRequest(_message.Message):
    __slots__ = ("queries", "vectors", "models", "top_k", "include_self", "include_attributes", "include_metadata", "max_distance")
    QUERIES_FIELD_NUMBER: _ClassVar[int]
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_SELF_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_METADATA_FIELD_NUMBER: _ClassVar[int]
    MAX_DISTANCE_FIELD_NUMBER: _ClassVar[int]
    queries: _containers.RepeatedCompositeFieldContainer[Query]
    vectors: VectorQueries
    models: _containers.RepeatedScalarFieldContainer[str]
    top_k: int
    include_self: bool
    include_attributes: bool
    include_metadata: bool
    max_distance: float
    def __init__(self, queries: _Optional[_Iterable[_Union[Query, _Mapping]]] = ..., vectors: _Optional[_Union[VectorQueries, _Mapping]] = ..., models: _Optional[_Iterable[str]] = ..., top_k: _Optional[int] = ..., include_self: _Optional[bool] = ..., include_attributes: _Optional[bool] = ..., include_metadata: _Optional[bool] = ..., max_distance: _Optional[float] = ...) -> None: ...

class FindSimilarBatchReply(_message.Message):
    __slots__ = ("answers",)
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    answers: _containers.RepeatedCompositeFieldContainer[BatchAnswer]
    def __init__(self, answers: _Optional[_Iterable[_Union[BatchAnswer, _Mapping]]] = ...) -> None: ...

class BatchAnswer(_message.Message):
    __slots__ = ("model", "fingerprint", "metric", "counts", "ids", "distances", "attributes_json", "metadata", "refused")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    DISTANCES_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_JSON_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    model: str
    fingerprint: str
    metric: str
    counts: _containers.RepeatedScalarFieldContainer[int]
    ids: _containers.RepeatedScalarFieldContainer[str]
    distances: _containers.RepeatedScalarFieldContainer[float]
    attributes_json: _containers.RepeatedScalarFieldContainer[str]
    metadata: _containers.RepeatedScalarFieldContainer[bytes]
    refused: _containers.RepeatedCompositeFieldContainer[Refusal]
    def __init__(self, model: _Optional[str] = ..., fingerprint: _Optional[str] = ..., metric: _Optional[str] = ..., counts: _Optional[_Iterable[int]] = ..., ids: _Optional[_Iterable[str]] = ..., distances: _Optional[_Iterable[float]] = ..., attributes_json: _Optional[_Iterable[str]] = ..., metadata: _Optional[_Iterable[bytes]] = ..., refused: _Optional[_Iterable[_Union[Refusal, _Mapping]]] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListModelsReply(_message.Message):
    __slots__ = ("models",)
    MODELS_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[Model]
    def __init__(self, models: _Optional[_Iterable[_Union[Model, _Mapping]]] = ...) -> None: ...

class Model(_message.Message):
    __slots__ = ("name", "state", "reason", "input", "feature_dim", "prediction_dim", "fingerprint", "engine", "metric", "items", "labels", "adopted", "index", "items_run", "batches_run", "disk_bytes")
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    FEATURE_DIM_FIELD_NUMBER: _ClassVar[int]
    PREDICTION_DIM_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    ADOPTED_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    ITEMS_RUN_FIELD_NUMBER: _ClassVar[int]
    BATCHES_RUN_FIELD_NUMBER: _ClassVar[int]
    DISK_BYTES_FIELD_NUMBER: _ClassVar[int]
    name: str
    state: ModelState
    reason: str
    input: str
    feature_dim: int
    prediction_dim: int
    fingerprint: str
    engine: str
    metric: str
    items: int
    labels: _containers.RepeatedScalarFieldContainer[str]
    adopted: bool
    index: Index
    items_run: int
    batches_run: int
    disk_bytes: int
    def __init__(self, name: _Optional[str] = ..., state: _Optional[_Union[ModelState, str]] = ..., reason: _Optional[str] = ..., input: _Optional[str] = ..., feature_dim: _Optional[int] = ..., prediction_dim: _Optional[int] = ..., fingerprint: _Optional[str] = ..., engine: _Optional[str] = ..., metric: _Optional[str] = ..., items: _Optional[int] = ..., labels: _Optional[_Iterable[str]] = ..., adopted: _Optional[bool] = ..., index: _Optional[_Union[Index, _Mapping]] = ..., items_run: _Optional[int] = ..., batches_run: _Optional[int] = ..., disk_bytes: _Optional[int] = ...) -> None: ...

class Index(_message.Message):
    __slots__ = ("description", "indexed_rows", "unindexed_rows", "building", "recall", "recall_samples", "segments", "verifying", "failure")
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    INDEXED_ROWS_FIELD_NUMBER: _ClassVar[int]
    UNINDEXED_ROWS_FIELD_NUMBER: _ClassVar[int]
    BUILDING_FIELD_NUMBER: _ClassVar[int]
    RECALL_FIELD_NUMBER: _ClassVar[int]
    RECALL_SAMPLES_FIELD_NUMBER: _ClassVar[int]
    SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    VERIFYING_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    description: str
    indexed_rows: int
    unindexed_rows: int
    building: bool
    recall: float
    recall_samples: int
    segments: int
    verifying: bool
    failure: str
    def __init__(self, description: _Optional[str] = ..., indexed_rows: _Optional[int] = ..., unindexed_rows: _Optional[int] = ..., building: _Optional[bool] = ..., recall: _Optional[float] = ..., recall_samples: _Optional[int] = ..., segments: _Optional[int] = ..., verifying: _Optional[bool] = ..., failure: _Optional[str] = ...) -> None: ...

class LoadModelRequest(_message.Message):
    __slots__ = ("folder", "name")
    FOLDER_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    folder: str
    name: str
    def __init__(self, folder: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class LoadModelReply(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: Model
    def __init__(self, model: _Optional[_Union[Model, _Mapping]] = ...) -> None: ...

class UnloadModelRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class UnloadModelReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DropModelVersionRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class DropModelVersionReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
