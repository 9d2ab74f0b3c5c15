import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
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

class ItemChange(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ITEM_CHANGE_UNSPECIFIED: _ClassVar[ItemChange]
    ITEM_CHANGE_ADDED: _ClassVar[ItemChange]
    ITEM_CHANGE_REPLACED: _ClassVar[ItemChange]
    ITEM_CHANGE_UNCHANGED: _ClassVar[ItemChange]

class EmbeddingState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EMBEDDING_STATE_UNSPECIFIED: _ClassVar[EmbeddingState]
    EMBEDDING_STATE_DONE: _ClassVar[EmbeddingState]
    EMBEDDING_STATE_FAILED: _ClassVar[EmbeddingState]
    EMBEDDING_STATE_SUPERSEDED: _ClassVar[EmbeddingState]
    EMBEDDING_STATE_MISSING: _ClassVar[EmbeddingState]

class PredictionValue(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PREDICTION_VALUE_UNSPECIFIED: _ClassVar[PredictionValue]
    PREDICTION_VALUE_LABEL: _ClassVar[PredictionValue]
    PREDICTION_VALUE_CONFIDENCE: _ClassVar[PredictionValue]
    PREDICTION_VALUE_MARGIN: _ClassVar[PredictionValue]
    PREDICTION_VALUE_ENTROPY: _ClassVar[PredictionValue]
    PREDICTION_VALUE_TOP_LABELS: _ClassVar[PredictionValue]
    PREDICTION_VALUE_VECTOR: _ClassVar[PredictionValue]
    PREDICTION_VALUE_STATE: _ClassVar[PredictionValue]

class JobState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    JOB_STATE_UNSPECIFIED: _ClassVar[JobState]
    JOB_STATE_RUNNING: _ClassVar[JobState]
    JOB_STATE_WAITING: _ClassVar[JobState]
    JOB_STATE_SUCCEEDED: _ClassVar[JobState]
    JOB_STATE_CANCELLED: _ClassVar[JobState]
    JOB_STATE_FAILED: _ClassVar[JobState]

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
ITEM_CHANGE_UNSPECIFIED: ItemChange
ITEM_CHANGE_ADDED: ItemChange
ITEM_CHANGE_REPLACED: ItemChange
ITEM_CHANGE_UNCHANGED: ItemChange
EMBEDDING_STATE_UNSPECIFIED: EmbeddingState
EMBEDDING_STATE_DONE: EmbeddingState
EMBEDDING_STATE_FAILED: EmbeddingState
EMBEDDING_STATE_SUPERSEDED: EmbeddingState
EMBEDDING_STATE_MISSING: EmbeddingState
PREDICTION_VALUE_UNSPECIFIED: PredictionValue
PREDICTION_VALUE_LABEL: PredictionValue
PREDICTION_VALUE_CONFIDENCE: PredictionValue
PREDICTION_VALUE_MARGIN: PredictionValue
PREDICTION_VALUE_ENTROPY: PredictionValue
PREDICTION_VALUE_TOP_LABELS: PredictionValue
PREDICTION_VALUE_VECTOR: PredictionValue
PREDICTION_VALUE_STATE: PredictionValue
JOB_STATE_UNSPECIFIED: JobState
JOB_STATE_RUNNING: JobState
JOB_STATE_WAITING: JobState
JOB_STATE_SUCCEEDED: JobState
JOB_STATE_CANCELLED: JobState
JOB_STATE_FAILED: JobState
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
    __slots__ = ("id", "payload", "vectors", "models", "attributes_json", "metadata", "include_vectors", "include_predictions", "request_key")
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
    REQUEST_KEY_FIELD_NUMBER: _ClassVar[int]
    id: str
    payload: Payload
    vectors: _containers.MessageMap[str, Vector]
    models: _containers.RepeatedScalarFieldContainer[str]
    attributes_json: str
    metadata: bytes
    include_vectors: bool
    include_predictions: bool
    request_key: bytes
    def __init__(self, id: _Optional[str] = ..., payload: _Optional[_Union[Payload, _Mapping]] = ..., vectors: _Optional[_Mapping[str, Vector]] = ..., models: _Optional[_Iterable[str]] = ..., attributes_json: _Optional[str] = ..., metadata: _Optional[bytes] = ..., include_vectors: _Optional[bool] = ..., include_predictions: _Optional[bool] = ..., request_key: _Optional[bytes] = ...) -> None: ...

class AddItemReply(_message.Message):
    __slots__ = ("embeddings", "failures", "change")
    EMBEDDINGS_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    CHANGE_FIELD_NUMBER: _ClassVar[int]
    embeddings: _containers.RepeatedCompositeFieldContainer[Embedding]
    failures: _containers.RepeatedCompositeFieldContainer[EmbeddingFailure]
    change: ItemChange
    def __init__(self, embeddings: _Optional[_Iterable[_Union[Embedding, _Mapping]]] = ..., failures: _Optional[_Iterable[_Union[EmbeddingFailure, _Mapping]]] = ..., change: _Optional[_Union[ItemChange, str]] = ...) -> None: ...

class EmbeddingFailure(_message.Message):
    __slots__ = ("model", "fingerprint", "reason", "message", "time")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    model: str
    fingerprint: str
    reason: str
    message: str
    time: _timestamp_pb2.Timestamp
    def __init__(self, model: _Optional[str] = ..., fingerprint: _Optional[str] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ItemState(_message.Message):
    __slots__ = ("model", "fingerprint", "state", "failure")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    model: str
    fingerprint: str
    state: EmbeddingState
    failure: EmbeddingFailure
    def __init__(self, model: _Optional[str] = ..., fingerprint: _Optional[str] = ..., state: _Optional[_Union[EmbeddingState, str]] = ..., failure: _Optional[_Union[EmbeddingFailure, _Mapping]] = ...) -> None: ...

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
    __slots__ = ("model", "fingerprint", "ids", "vectors", "attributes_json", "metadata", "request_key")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_JSON_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    REQUEST_KEY_FIELD_NUMBER: _ClassVar[int]
    model: str
    fingerprint: str
    ids: _containers.RepeatedScalarFieldContainer[str]
    vectors: Array
    attributes_json: _containers.RepeatedScalarFieldContainer[str]
    metadata: _containers.RepeatedScalarFieldContainer[bytes]
    request_key: bytes
    def __init__(self, model: _Optional[str] = ..., fingerprint: _Optional[str] = ..., ids: _Optional[_Iterable[str]] = ..., vectors: _Optional[_Union[Array, _Mapping]] = ..., attributes_json: _Optional[_Iterable[str]] = ..., metadata: _Optional[_Iterable[bytes]] = ..., request_key: _Optional[bytes] = ...) -> None: ...

class AddVectorsReply(_message.Message):
    __slots__ = ("refused", "changes")
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    refused: _containers.RepeatedCompositeFieldContainer[Refusal]
    changes: _containers.RepeatedScalarFieldContainer[ItemChange]
    def __init__(self, refused: _Optional[_Iterable[_Union[Refusal, _Mapping]]] = ..., changes: _Optional[_Iterable[_Union[ItemChange, str]]] = ...) -> None: ...

class GetItemRequest(_message.Message):
    __slots__ = ("id", "include_vectors", "include_predictions", "include_payload", "include_states")
    ID_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_VECTORS_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_PREDICTIONS_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_STATES_FIELD_NUMBER: _ClassVar[int]
    id: str
    include_vectors: bool
    include_predictions: bool
    include_payload: bool
    include_states: bool
    def __init__(self, id: _Optional[str] = ..., include_vectors: _Optional[bool] = ..., include_predictions: _Optional[bool] = ..., include_payload: _Optional[bool] = ..., include_states: _Optional[bool] = ...) -> None: ...

class GetItemReply(_message.Message):
    __slots__ = ("item",)
    ITEM_FIELD_NUMBER: _ClassVar[int]
    item: Item
    def __init__(self, item: _Optional[_Union[Item, _Mapping]] = ...) -> None: ...

class Item(_message.Message):
    __slots__ = ("id", "attributes_json", "metadata", "embeddings", "payload", "states")
    ID_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_JSON_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    EMBEDDINGS_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    id: str
    attributes_json: str
    metadata: bytes
    embeddings: _containers.RepeatedCompositeFieldContainer[Embedding]
    payload: Payload
    states: _containers.RepeatedCompositeFieldContainer[ItemState]
    def __init__(self, id: _Optional[str] = ..., attributes_json: _Optional[str] = ..., metadata: _Optional[bytes] = ..., embeddings: _Optional[_Iterable[_Union[Embedding, _Mapping]]] = ..., payload: _Optional[_Union[Payload, _Mapping]] = ..., states: _Optional[_Iterable[_Union[ItemState, _Mapping]]] = ...) -> None: ...

class RemoveItemRequest(_message.Message):
    __slots__ = ("id", "request_key")
    ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_KEY_FIELD_NUMBER: _ClassVar[int]
    id: str
    request_key: bytes
    def __init__(self, id: _Optional[str] = ..., request_key: _Optional[bytes] = ...) -> None: ...

class RemoveItemReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class AddItemStreamReply(_message.Message):
    __slots__ = ("position", "added", "refused")
    POSITION_FIELD_NUMBER: _ClassVar[int]
    ADDED_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    position: int
    added: AddItemReply
    refused: Refusal
    def __init__(self, position: _Optional[int] = ..., added: _Optional[_Union[AddItemReply, _Mapping]] = ..., refused: _Optional[_Union[Refusal, _Mapping]] = ...) -> None: ...

class GetItemsRequest(_message.Message):
    __slots__ = ("ids", "include_vectors", "include_predictions", "include_payload", "include_states")
    IDS_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_VECTORS_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_PREDICTIONS_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_STATES_FIELD_NUMBER: _ClassVar[int]
    ids: _containers.RepeatedScalarFieldContainer[str]
    include_vectors: bool
    include_predictions: bool
    include_payload: bool
    include_states: bool
    def __init__(self, ids: _Optional[_Iterable[str]] = ..., include_vectors: _Optional[bool] = ..., include_predictions: _Optional[bool] = ..., include_payload: _Optional[bool] = ..., include_states: _Optional[bool] = ...) -> None: ...

class GetItemsReply(_message.Message):
    __slots__ = ("items", "missing", "refused")
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[Item]
    missing: _containers.RepeatedScalarFieldContainer[int]
    refused: _containers.RepeatedCompositeFieldContainer[Refusal]
    def __init__(self, items: _Optional[_Iterable[_Union[Item, _Mapping]]] = ..., missing: _Optional[_Iterable[int]] = ..., refused: _Optional[_Iterable[_Union[Refusal, _Mapping]]] = ...) -> None: ...

class UpdateItemRequest(_message.Message):
    __slots__ = ("id", "attributes_json", "merge_json", "remove_attributes", "metadata", "request_key")
    ID_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_JSON_FIELD_NUMBER: _ClassVar[int]
    MERGE_JSON_FIELD_NUMBER: _ClassVar[int]
    REMOVE_ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    REQUEST_KEY_FIELD_NUMBER: _ClassVar[int]
    id: str
    attributes_json: str
    merge_json: str
    remove_attributes: _containers.RepeatedScalarFieldContainer[str]
    metadata: bytes
    request_key: bytes
    def __init__(self, id: _Optional[str] = ..., attributes_json: _Optional[str] = ..., merge_json: _Optional[str] = ..., remove_attributes: _Optional[_Iterable[str]] = ..., metadata: _Optional[bytes] = ..., request_key: _Optional[bytes] = ...) -> None: ...

class UpdateItemReply(_message.Message):
    __slots__ = ("attributes_json",)
    ATTRIBUTES_JSON_FIELD_NUMBER: _ClassVar[int]
    attributes_json: str
    def __init__(self, attributes_json: _Optional[str] = ...) -> None: ...

class Field(_message.Message):
    __slots__ = ("name", "attribute", "prediction")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTE_FIELD_NUMBER: _ClassVar[int]
    PREDICTION_FIELD_NUMBER: _ClassVar[int]
    name: str
    attribute: str
    prediction: PredictionField
    def __init__(self, name: _Optional[str] = ..., attribute: _Optional[str] = ..., prediction: _Optional[_Union[PredictionField, _Mapping]] = ...) -> None: ...

class PredictionField(_message.Message):
    __slots__ = ("model", "value")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    model: str
    value: PredictionValue
    def __init__(self, model: _Optional[str] = ..., value: _Optional[_Union[PredictionValue, str]] = ...) -> None: ...

class Value(_message.Message):
    __slots__ = ("bool_value", "int_value", "float_value", "string_value", "timestamp_value")
    BOOL_VALUE_FIELD_NUMBER: _ClassVar[int]
    INT_VALUE_FIELD_NUMBER: _ClassVar[int]
    FLOAT_VALUE_FIELD_NUMBER: _ClassVar[int]
    STRING_VALUE_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_VALUE_FIELD_NUMBER: _ClassVar[int]
    bool_value: bool
    int_value: int
    float_value: float
    string_value: str
    timestamp_value: _timestamp_pb2.Timestamp
    def __init__(self, bool_value: _Optional[bool] = ..., int_value: _Optional[int] = ..., float_value: _Optional[float] = ..., string_value: _Optional[str] = ..., timestamp_value: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Filter(_message.Message):
    __slots__ = ("comparison", "one_of", "exists", "prefix", "contains", "all", "any")
    COMPARISON_FIELD_NUMBER: _ClassVar[int]
    ONE_OF_FIELD_NUMBER: _ClassVar[int]
    EXISTS_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    CONTAINS_FIELD_NUMBER: _ClassVar[int]
    ALL_FIELD_NUMBER: _ClassVar[int]
    ANY_FIELD_NUMBER: _ClassVar[int]
    NOT_FIELD_NUMBER: _ClassVar[int]
    comparison: Comparison
    one_of: OneOf
    exists: Field
    prefix: Prefix
    contains: Contains
    all: Filters
    any: Filters
    def __init__(self, comparison: _Optional[_Union[Comparison, _Mapping]] = ..., one_of: _Optional[_Union[OneOf, _Mapping]] = ..., exists: _Optional[_Union[Field, _Mapping]] = ..., prefix: _Optional[_Union[Prefix, _Mapping]] = ..., contains: _Optional[_Union[Contains, _Mapping]] = ..., all: _Optional[_Union[Filters, _Mapping]] = ..., any: _Optional[_Union[Filters, _Mapping]] = ..., **kwargs) -> None: ...

class Comparison(_message.Message):
    __slots__ = ("field", "operator", "value")
    class Operator(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        OPERATOR_UNSPECIFIED: _ClassVar[Comparison.Operator]
        OPERATOR_EQUAL: _ClassVar[Comparison.Operator]
        OPERATOR_LESS: _ClassVar[Comparison.Operator]
        OPERATOR_LESS_OR_EQUAL: _ClassVar[Comparison.Operator]
        OPERATOR_GREATER: _ClassVar[Comparison.Operator]
        OPERATOR_GREATER_OR_EQUAL: _ClassVar[Comparison.Operator]
    OPERATOR_UNSPECIFIED: Comparison.Operator
    OPERATOR_EQUAL: Comparison.Operator
    OPERATOR_LESS: Comparison.Operator
    OPERATOR_LESS_OR_EQUAL: Comparison.Operator
    OPERATOR_GREATER: Comparison.Operator
    OPERATOR_GREATER_OR_EQUAL: Comparison.Operator
    FIELD_FIELD_NUMBER: _ClassVar[int]
    OPERATOR_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    field: Field
    operator: Comparison.Operator
    value: Value
    def __init__(self, field: _Optional[_Union[Field, _Mapping]] = ..., operator: _Optional[_Union[Comparison.Operator, str]] = ..., value: _Optional[_Union[Value, _Mapping]] = ...) -> None: ...

class OneOf(_message.Message):
    __slots__ = ("field", "values")
    FIELD_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    field: Field
    values: _containers.RepeatedCompositeFieldContainer[Value]
    def __init__(self, field: _Optional[_Union[Field, _Mapping]] = ..., values: _Optional[_Iterable[_Union[Value, _Mapping]]] = ...) -> None: ...

class Prefix(_message.Message):
    __slots__ = ("field", "prefix")
    FIELD_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    field: Field
    prefix: str
    def __init__(self, field: _Optional[_Union[Field, _Mapping]] = ..., prefix: _Optional[str] = ...) -> None: ...

class Contains(_message.Message):
    __slots__ = ("field", "value")
    FIELD_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    field: Field
    value: Value
    def __init__(self, field: _Optional[_Union[Field, _Mapping]] = ..., value: _Optional[_Union[Value, _Mapping]] = ...) -> None: ...

class Filters(_message.Message):
    __slots__ = ("filters",)
    FILTERS_FIELD_NUMBER: _ClassVar[int]
    filters: _containers.RepeatedCompositeFieldContainer[Filter]
    def __init__(self, filters: _Optional[_Iterable[_Union[Filter, _Mapping]]] = ...) -> None: ...

class UnknownField(_message.Message):
    __slots__ = ("name", "similar")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SIMILAR_FIELD_NUMBER: _ClassVar[int]
    name: str
    similar: str
    def __init__(self, name: _Optional[str] = ..., similar: _Optional[str] = ...) -> None: ...

class CountItemsRequest(_message.Message):
    __slots__ = ("filter", "only")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    ONLY_FIELD_NUMBER: _ClassVar[int]
    filter: Filter
    only: StateFilter
    def __init__(self, filter: _Optional[_Union[Filter, _Mapping]] = ..., only: _Optional[_Union[StateFilter, _Mapping]] = ...) -> None: ...

class StateFilter(_message.Message):
    __slots__ = ("state", "model")
    STATE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    state: EmbeddingState
    model: str
    def __init__(self, state: _Optional[_Union[EmbeddingState, str]] = ..., model: _Optional[str] = ...) -> None: ...

class CountItemsReply(_message.Message):
    __slots__ = ("count", "unknown_fields")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_FIELDS_FIELD_NUMBER: _ClassVar[int]
    count: int
    unknown_fields: _containers.RepeatedCompositeFieldContainer[UnknownField]
    def __init__(self, count: _Optional[int] = ..., unknown_fields: _Optional[_Iterable[_Union[UnknownField, _Mapping]]] = ...) -> None: ...

class Order(_message.Message):
    __slots__ = ("field", "descending")
    FIELD_FIELD_NUMBER: _ClassVar[int]
    DESCENDING_FIELD_NUMBER: _ClassVar[int]
    field: Field
    descending: bool
    def __init__(self, field: _Optional[_Union[Field, _Mapping]] = ..., descending: _Optional[bool] = ...) -> None: ...

class ListItemsRequest(_message.Message):
    __slots__ = ("filter", "order", "page_size", "page_token", "include_vectors", "include_predictions", "include_payload", "only", "include_states")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_VECTORS_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_PREDICTIONS_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    ONLY_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_STATES_FIELD_NUMBER: _ClassVar[int]
    filter: Filter
    order: Order
    page_size: int
    page_token: str
    include_vectors: bool
    include_predictions: bool
    include_payload: bool
    only: StateFilter
    include_states: bool
    def __init__(self, filter: _Optional[_Union[Filter, _Mapping]] = ..., order: _Optional[_Union[Order, _Mapping]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., include_vectors: _Optional[bool] = ..., include_predictions: _Optional[bool] = ..., include_payload: _Optional[bool] = ..., only: _Optional[_Union[StateFilter, _Mapping]] = ..., include_states: _Optional[bool] = ...) -> None: ...

class ListItemsReply(_message.Message):
    __slots__ = ("items", "next_page_token", "refused", "unknown_fields")
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_FIELDS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[Item]
    next_page_token: str
    refused: _containers.RepeatedCompositeFieldContainer[Refusal]
    unknown_fields: _containers.RepeatedCompositeFieldContainer[UnknownField]
    def __init__(self, items: _Optional[_Iterable[_Union[Item, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., refused: _Optional[_Iterable[_Union[Refusal, _Mapping]]] = ..., unknown_fields: _Optional[_Iterable[_Union[UnknownField, _Mapping]]] = ...) -> None: ...

class SampleItemsRequest(_message.Message):
    __slots__ = ("filter", "count", "seed", "stratify_by", "include_vectors", "include_predictions", "include_payload", "only", "include_states")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    STRATIFY_BY_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_VECTORS_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_PREDICTIONS_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    ONLY_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_STATES_FIELD_NUMBER: _ClassVar[int]
    filter: Filter
    count: int
    seed: int
    stratify_by: Field
    include_vectors: bool
    include_predictions: bool
    include_payload: bool
    only: StateFilter
    include_states: bool
    def __init__(self, filter: _Optional[_Union[Filter, _Mapping]] = ..., count: _Optional[int] = ..., seed: _Optional[int] = ..., stratify_by: _Optional[_Union[Field, _Mapping]] = ..., include_vectors: _Optional[bool] = ..., include_predictions: _Optional[bool] = ..., include_payload: _Optional[bool] = ..., only: _Optional[_Union[StateFilter, _Mapping]] = ..., include_states: _Optional[bool] = ...) -> None: ...

class SampleItemsReply(_message.Message):
    __slots__ = ("items", "refused", "unknown_fields")
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_FIELDS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[Item]
    refused: _containers.RepeatedCompositeFieldContainer[Refusal]
    unknown_fields: _containers.RepeatedCompositeFieldContainer[UnknownField]
    def __init__(self, items: _Optional[_Iterable[_Union[Item, _Mapping]]] = ..., refused: _Optional[_Iterable[_Union[Refusal, _Mapping]]] = ..., unknown_fields: _Optional[_Iterable[_Union[UnknownField, _Mapping]]] = ...) -> None: ...

class SummarizeItemsRequest(_message.Message):
    __slots__ = ("filter", "count_by", "max_values", "numbers")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    COUNT_BY_FIELD_NUMBER: _ClassVar[int]
    MAX_VALUES_FIELD_NUMBER: _ClassVar[int]
    NUMBERS_FIELD_NUMBER: _ClassVar[int]
    filter: Filter
    count_by: _containers.RepeatedCompositeFieldContainer[Field]
    max_values: int
    numbers: _containers.RepeatedCompositeFieldContainer[Field]
    def __init__(self, filter: _Optional[_Union[Filter, _Mapping]] = ..., count_by: _Optional[_Iterable[_Union[Field, _Mapping]]] = ..., max_values: _Optional[int] = ..., numbers: _Optional[_Iterable[_Union[Field, _Mapping]]] = ...) -> None: ...

class SummarizeItemsReply(_message.Message):
    __slots__ = ("count", "counts", "summaries", "unknown_fields")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    SUMMARIES_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_FIELDS_FIELD_NUMBER: _ClassVar[int]
    count: int
    counts: _containers.RepeatedCompositeFieldContainer[ValueCounts]
    summaries: _containers.RepeatedCompositeFieldContainer[NumberSummary]
    unknown_fields: _containers.RepeatedCompositeFieldContainer[UnknownField]
    def __init__(self, count: _Optional[int] = ..., counts: _Optional[_Iterable[_Union[ValueCounts, _Mapping]]] = ..., summaries: _Optional[_Iterable[_Union[NumberSummary, _Mapping]]] = ..., unknown_fields: _Optional[_Iterable[_Union[UnknownField, _Mapping]]] = ...) -> None: ...

class ValueCounts(_message.Message):
    __slots__ = ("values", "counts", "other", "missing")
    VALUES_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    OTHER_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedCompositeFieldContainer[Value]
    counts: _containers.RepeatedScalarFieldContainer[int]
    other: int
    missing: int
    def __init__(self, values: _Optional[_Iterable[_Union[Value, _Mapping]]] = ..., counts: _Optional[_Iterable[int]] = ..., other: _Optional[int] = ..., missing: _Optional[int] = ...) -> None: ...

class NumberSummary(_message.Message):
    __slots__ = ("count", "min", "max", "mean", "standard_deviation", "median")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    MIN_FIELD_NUMBER: _ClassVar[int]
    MAX_FIELD_NUMBER: _ClassVar[int]
    MEAN_FIELD_NUMBER: _ClassVar[int]
    STANDARD_DEVIATION_FIELD_NUMBER: _ClassVar[int]
    MEDIAN_FIELD_NUMBER: _ClassVar[int]
    count: int
    min: float
    max: float
    mean: float
    standard_deviation: float
    median: float
    def __init__(self, count: _Optional[int] = ..., min: _Optional[float] = ..., max: _Optional[float] = ..., mean: _Optional[float] = ..., standard_deviation: _Optional[float] = ..., median: _Optional[float] = ...) -> None: ...

class ExportItemsRequest(_message.Message):
    __slots__ = ("filter", "models", "include_vectors", "include_predictions", "include_payloads")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_VECTORS_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_PREDICTIONS_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_PAYLOADS_FIELD_NUMBER: _ClassVar[int]
    filter: Filter
    models: _containers.RepeatedScalarFieldContainer[str]
    include_vectors: bool
    include_predictions: bool
    include_payloads: bool
    def __init__(self, filter: _Optional[_Union[Filter, _Mapping]] = ..., models: _Optional[_Iterable[str]] = ..., include_vectors: _Optional[bool] = ..., include_predictions: _Optional[bool] = ..., include_payloads: _Optional[bool] = ...) -> None: ...

class ExportItemsReply(_message.Message):
    __slots__ = ("data",)
    DATA_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    def __init__(self, data: _Optional[bytes] = ...) -> None: ...

class ImportedItem(_message.Message):
    __slots__ = ("id", "attributes_json", "metadata", "embeddings", "ready_made", "payload", "payload_digest", "failures")
    ID_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_JSON_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    EMBEDDINGS_FIELD_NUMBER: _ClassVar[int]
    READY_MADE_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_DIGEST_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    id: str
    attributes_json: str
    metadata: bytes
    embeddings: _containers.RepeatedCompositeFieldContainer[Embedding]
    ready_made: _containers.RepeatedScalarFieldContainer[int]
    payload: Payload
    payload_digest: bytes
    failures: _containers.RepeatedCompositeFieldContainer[EmbeddingFailure]
    def __init__(self, id: _Optional[str] = ..., attributes_json: _Optional[str] = ..., metadata: _Optional[bytes] = ..., embeddings: _Optional[_Iterable[_Union[Embedding, _Mapping]]] = ..., ready_made: _Optional[_Iterable[int]] = ..., payload: _Optional[_Union[Payload, _Mapping]] = ..., payload_digest: _Optional[bytes] = ..., failures: _Optional[_Iterable[_Union[EmbeddingFailure, _Mapping]]] = ...) -> None: ...

class ImportItemsRequest(_message.Message):
    __slots__ = ("items", "request_key")
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_KEY_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[ImportedItem]
    request_key: bytes
    def __init__(self, items: _Optional[_Iterable[_Union[ImportedItem, _Mapping]]] = ..., request_key: _Optional[bytes] = ...) -> None: ...

class ImportItemsReply(_message.Message):
    __slots__ = ("refused", "changes")
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    refused: _containers.RepeatedCompositeFieldContainer[Refusal]
    changes: _containers.RepeatedScalarFieldContainer[ItemChange]
    def __init__(self, refused: _Optional[_Iterable[_Union[Refusal, _Mapping]]] = ..., changes: _Optional[_Iterable[_Union[ItemChange, str]]] = ...) -> None: ...

class StartEmbeddingRequest(_message.Message):
    __slots__ = ("model", "filter", "states")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    model: str
    filter: Filter
    states: _containers.RepeatedScalarFieldContainer[EmbeddingState]
    def __init__(self, model: _Optional[str] = ..., filter: _Optional[_Union[Filter, _Mapping]] = ..., states: _Optional[_Iterable[_Union[EmbeddingState, str]]] = ...) -> None: ...

class StartEmbeddingReply(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: Job
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ...) -> None: ...

class GetJobRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class GetJobReply(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: Job
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ...) -> None: ...

class ListJobsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListJobsReply(_message.Message):
    __slots__ = ("jobs",)
    JOBS_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedCompositeFieldContainer[Job]
    def __init__(self, jobs: _Optional[_Iterable[_Union[Job, _Mapping]]] = ...) -> None: ...

class CancelJobRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class CancelJobReply(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: Job
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ...) -> None: ...

class Job(_message.Message):
    __slots__ = ("id", "state", "message", "model", "fingerprint", "filter", "states", "created", "finished", "done", "failed", "remaining", "skipped", "items_per_second")
    class SkippedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    REMAINING_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_FIELD_NUMBER: _ClassVar[int]
    ITEMS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    id: str
    state: JobState
    message: str
    model: str
    fingerprint: str
    filter: Filter
    states: _containers.RepeatedScalarFieldContainer[EmbeddingState]
    created: _timestamp_pb2.Timestamp
    finished: _timestamp_pb2.Timestamp
    done: int
    failed: int
    remaining: int
    skipped: _containers.ScalarMap[str, int]
    items_per_second: float
    def __init__(self, id: _Optional[str] = ..., state: _Optional[_Union[JobState, str]] = ..., message: _Optional[str] = ..., model: _Optional[str] = ..., fingerprint: _Optional[str] = ..., filter: _Optional[_Union[Filter, _Mapping]] = ..., states: _Optional[_Iterable[_Union[EmbeddingState, str]]] = ..., created: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., finished: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., done: _Optional[int] = ..., failed: _Optional[int] = ..., remaining: _Optional[int] = ..., skipped: _Optional[_Mapping[str, int]] = ..., items_per_second: _Optional[float] = ...) -> None: ...

class RemoveItemsRequest(_message.Message):
    __slots__ = ("ids", "filter", "dry_run", "request_key")
    IDS_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    REQUEST_KEY_FIELD_NUMBER: _ClassVar[int]
    ids: _containers.RepeatedScalarFieldContainer[str]
    filter: Filter
    dry_run: bool
    request_key: bytes
    def __init__(self, ids: _Optional[_Iterable[str]] = ..., filter: _Optional[_Union[Filter, _Mapping]] = ..., dry_run: _Optional[bool] = ..., request_key: _Optional[bytes] = ...) -> None: ...

class RemoveItemsReply(_message.Message):
    __slots__ = ("removed", "missing", "refused", "unknown_fields")
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_FIELDS_FIELD_NUMBER: _ClassVar[int]
    removed: int
    missing: _containers.RepeatedScalarFieldContainer[int]
    refused: _containers.RepeatedCompositeFieldContainer[Refusal]
    unknown_fields: _containers.RepeatedCompositeFieldContainer[UnknownField]
    def __init__(self, removed: _Optional[int] = ..., missing: _Optional[_Iterable[int]] = ..., refused: _Optional[_Iterable[_Union[Refusal, _Mapping]]] = ..., unknown_fields: _Optional[_Iterable[_Union[UnknownField, _Mapping]]] = ...) -> None: ...

class Query(_message.Message):
    __slots__ = ("payload", "vector", "id", "examples")
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    VECTOR_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    payload: Payload
    vector: Vector
    id: str
    examples: Examples
    def __init__(self, payload: _Optional[_Union[Payload, _Mapping]] = ..., vector: _Optional[_Union[Vector, _Mapping]] = ..., id: _Optional[str] = ..., examples: _Optional[_Union[Examples, _Mapping]] = ...) -> None: ...

class Examples(_message.Message):
    __slots__ = ("positive", "negative")
    POSITIVE_FIELD_NUMBER: _ClassVar[int]
    NEGATIVE_FIELD_NUMBER: _ClassVar[int]
    positive: _containers.RepeatedCompositeFieldContainer[Example]
    negative: _containers.RepeatedCompositeFieldContainer[Example]
    def __init__(self, positive: _Optional[_Iterable[_Union[Example, _Mapping]]] = ..., negative: _Optional[_Iterable[_Union[Example, _Mapping]]] = ...) -> None: ...

class Example(_message.Message):
    __slots__ = ("payload", "vector", "id")
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    VECTOR_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    payload: Payload
    vector: Vector
    id: str
    def __init__(self, payload: _Optional[_Union[Payload, _Mapping]] = ..., vector: _Optional[_Union[Vector, _Mapping]] = ..., id: _Optional[str] = ...) -> None: ...

class SearchOptions(_message.Message):
    __slots__ = ("filter", "offset", "exact", "include_payload", "include_vectors", "include_predictions", "top_labels", "attribute_names", "diversity", "group_by", "fuse")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    EXACT_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_VECTORS_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_PREDICTIONS_FIELD_NUMBER: _ClassVar[int]
    TOP_LABELS_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTE_NAMES_FIELD_NUMBER: _ClassVar[int]
    DIVERSITY_FIELD_NUMBER: _ClassVar[int]
    GROUP_BY_FIELD_NUMBER: _ClassVar[int]
    FUSE_FIELD_NUMBER: _ClassVar[int]
    filter: Filter
    offset: int
    exact: bool
    include_payload: bool
    include_vectors: bool
    include_predictions: bool
    top_labels: int
    attribute_names: _containers.RepeatedScalarFieldContainer[str]
    diversity: Diversity
    group_by: GroupBy
    fuse: bool
    def __init__(self, filter: _Optional[_Union[Filter, _Mapping]] = ..., offset: _Optional[int] = ..., exact: _Optional[bool] = ..., include_payload: _Optional[bool] = ..., include_vectors: _Optional[bool] = ..., include_predictions: _Optional[bool] = ..., top_labels: _Optional[int] = ..., attribute_names: _Optional[_Iterable[str]] = ..., diversity: _Optional[_Union[Diversity, _Mapping]] = ..., group_by: _Optional[_Union[GroupBy, _Mapping]] = ..., fuse: _Optional[bool] = ...) -> None: ...

class Diversity(_message.Message):
    __slots__ = ("weight", "candidates")
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    weight: float
    candidates: int
    def __init__(self, weight: _Optional[float] = ..., candidates: _Optional[int] = ...) -> None: ...

class GroupBy(_message.Message):
    __slots__ = ("field", "max_per_group")
    FIELD_FIELD_NUMBER: _ClassVar[int]
    MAX_PER_GROUP_FIELD_NUMBER: _ClassVar[int]
    field: Field
    max_per_group: int
    def __init__(self, field: _Optional[_Union[Field, _Mapping]] = ..., max_per_group: _Optional[int] = ...) -> None: ...

class NeighborDetails(_message.Message):
    __slots__ = ("payload", "vector", "predictions", "labels", "group")
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    VECTOR_FIELD_NUMBER: _ClassVar[int]
    PREDICTIONS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    payload: Payload
    vector: Array
    predictions: Array
    labels: _containers.RepeatedCompositeFieldContainer[LabelProbability]
    group: Value
    def __init__(self, payload: _Optional[_Union[Payload, _Mapping]] = ..., vector: _Optional[_Union[Array, _Mapping]] = ..., predictions: _Optional[_Union[Array, _Mapping]] = ..., labels: _Optional[_Iterable[_Union[LabelProbability, _Mapping]]] = ..., group: _Optional[_Union[Value, _Mapping]] = ...) -> None: ...

class LabelProbability(_message.Message):
    __slots__ = ("label", "probability")
    LABEL_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    label: str
    probability: float
    def __init__(self, label: _Optional[str] = ..., probability: _Optional[float] = ...) -> None: ...

class FusedNeighbor(_message.Message):
    __slots__ = ("id", "score", "attributes_json", "metadata")
    ID_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_JSON_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    id: str
    score: float
    attributes_json: str
    metadata: bytes
    def __init__(self, id: _Optional[str] = ..., score: _Optional[float] = ..., attributes_json: _Optional[str] = ..., metadata: _Optional[bytes] = ...) -> None: ...

class FindSimilarRequest(_message.Message):
    __slots__ = ("query", "models", "top_k", "include_self", "include_attributes", "include_metadata", "max_distance", "options")
    QUERY_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_SELF_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_METADATA_FIELD_NUMBER: _ClassVar[int]
    MAX_DISTANCE_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    query: Query
    models: _containers.RepeatedScalarFieldContainer[str]
    top_k: int
    include_self: bool
    include_attributes: bool
    include_metadata: bool
    max_distance: float
    options: SearchOptions
    def __init__(self, query: _Optional[_Union[Query, _Mapping]] = ..., models: _Optional[_Iterable[str]] = ..., top_k: _Optional[int] = ..., include_self: _Optional[bool] = ..., include_attributes: _Optional[bool] = ..., include_metadata: _Optional[bool] = ..., max_distance: _Optional[float] = ..., options: _Optional[_Union[SearchOptions, _Mapping]] = ...) -> None: ...

class FindSimilarReply(_message.Message):
    __slots__ = ("answers", "fused", "unknown_fields")
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    FUSED_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_FIELDS_FIELD_NUMBER: _ClassVar[int]
    answers: _containers.RepeatedCompositeFieldContainer[ModelAnswer]
    fused: _containers.RepeatedCompositeFieldContainer[FusedNeighbor]
    unknown_fields: _containers.RepeatedCompositeFieldContainer[UnknownField]
    def __init__(self, answers: _Optional[_Iterable[_Union[ModelAnswer, _Mapping]]] = ..., fused: _Optional[_Iterable[_Union[FusedNeighbor, _Mapping]]] = ..., unknown_fields: _Optional[_Iterable[_Union[UnknownField, _Mapping]]] = ...) -> None: ...

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
    __slots__ = ("id", "distance", "attributes_json", "metadata", "details")
    ID_FIELD_NUMBER: _ClassVar[int]
    DISTANCE_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_JSON_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    id: str
    distance: float
    attributes_json: str
    metadata: bytes
    details: NeighborDetails
    def __init__(self, id: _Optional[str] = ..., distance: _Optional[float] = ..., attributes_json: _Optional[str] = ..., metadata: _Optional[bytes] = ..., details: _Optional[_Union[NeighborDetails, _Mapping]] = ...) -> None: ...

class VectorQueries(_message.Message):
    __slots__ = ("values", "fingerprint")
    VALUES_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    values: Array
    fingerprint: str
    def __init__(self, values: _Optional[_Union[Array, _Mapping]] = ..., fingerprint: _Optional[str] = ...) -> None: ...

class FindSimilarBatchRequest(_message.Message):
    __slots__ = ("queries", "vectors", "models", "top_k", "include_self", "include_attributes", "include_metadata", "max_distance", "options")
    QUERIES_FIELD_NUMBER: _ClassVar[int]
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_SELF_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_METADATA_FIELD_NUMBER: _ClassVar[int]
    MAX_DISTANCE_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    queries: _containers.RepeatedCompositeFieldContainer[Query]
    vectors: VectorQueries
    models: _containers.RepeatedScalarFieldContainer[str]
    top_k: int
    include_self: bool
    include_attributes: bool
    include_metadata: bool
    max_distance: float
    options: SearchOptions
    def __init__(self, queries: _Optional[_Iterable[_Union[Query, _Mapping]]] = ..., vectors: _Optional[_Union[VectorQueries, _Mapping]] = ..., models: _Optional[_Iterable[str]] = ..., top_k: _Optional[int] = ..., include_self: _Optional[bool] = ..., include_attributes: _Optional[bool] = ..., include_metadata: _Optional[bool] = ..., max_distance: _Optional[float] = ..., options: _Optional[_Union[SearchOptions, _Mapping]] = ...) -> None: ...

class FindSimilarBatchReply(_message.Message):
    __slots__ = ("answers", "unknown_fields")
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_FIELDS_FIELD_NUMBER: _ClassVar[int]
    answers: _containers.RepeatedCompositeFieldContainer[BatchAnswer]
    unknown_fields: _containers.RepeatedCompositeFieldContainer[UnknownField]
    def __init__(self, answers: _Optional[_Iterable[_Union[BatchAnswer, _Mapping]]] = ..., unknown_fields: _Optional[_Iterable[_Union[UnknownField, _Mapping]]] = ...) -> None: ...

class BatchAnswer(_message.Message):
    __slots__ = ("model", "fingerprint", "metric", "counts", "ids", "distances", "attributes_json", "metadata", "refused", "details")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    DISTANCES_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_JSON_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    model: str
    fingerprint: str
    metric: str
    counts: _containers.RepeatedScalarFieldContainer[int]
    ids: _containers.RepeatedScalarFieldContainer[str]
    distances: _containers.RepeatedScalarFieldContainer[float]
    attributes_json: _containers.RepeatedScalarFieldContainer[str]
    metadata: _containers.RepeatedScalarFieldContainer[bytes]
    refused: _containers.RepeatedCompositeFieldContainer[Refusal]
    details: _containers.RepeatedCompositeFieldContainer[NeighborDetails]
    def __init__(self, model: _Optional[str] = ..., fingerprint: _Optional[str] = ..., metric: _Optional[str] = ..., counts: _Optional[_Iterable[int]] = ..., ids: _Optional[_Iterable[str]] = ..., distances: _Optional[_Iterable[float]] = ..., attributes_json: _Optional[_Iterable[str]] = ..., metadata: _Optional[_Iterable[bytes]] = ..., refused: _Optional[_Iterable[_Union[Refusal, _Mapping]]] = ..., details: _Optional[_Iterable[_Union[NeighborDetails, _Mapping]]] = ...) -> None: ...

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

class BackupRequest(_message.Message):
    __slots__ = ("known", "begin", "replies")
    KNOWN_FIELD_NUMBER: _ClassVar[int]
    BEGIN_FIELD_NUMBER: _ClassVar[int]
    REPLIES_FIELD_NUMBER: _ClassVar[int]
    known: _containers.RepeatedCompositeFieldContainer[KnownFile]
    begin: bool
    replies: int
    def __init__(self, known: _Optional[_Iterable[_Union[KnownFile, _Mapping]]] = ..., begin: _Optional[bool] = ..., replies: _Optional[int] = ...) -> None: ...

class KnownFile(_message.Message):
    __slots__ = ("sha256", "size")
    SHA256_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    sha256: bytes
    size: int
    def __init__(self, sha256: _Optional[bytes] = ..., size: _Optional[int] = ...) -> None: ...

class BackupReply(_message.Message):
    __slots__ = ("start", "file", "data", "end", "done")
    START_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    start: BackupStart
    file: BackupFile
    data: bytes
    end: BackupFileEnd
    done: BackupDone
    def __init__(self, start: _Optional[_Union[BackupStart, _Mapping]] = ..., file: _Optional[_Union[BackupFile, _Mapping]] = ..., data: _Optional[bytes] = ..., end: _Optional[_Union[BackupFileEnd, _Mapping]] = ..., done: _Optional[_Union[BackupDone, _Mapping]] = ...) -> None: ...

class BackupStart(_message.Message):
    __slots__ = ("created", "files", "bytes", "models", "search", "warnings", "held_seconds")
    class SearchEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    CREATED_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    SEARCH_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    HELD_SECONDS_FIELD_NUMBER: _ClassVar[int]
    created: _timestamp_pb2.Timestamp
    files: int
    bytes: int
    models: _containers.RepeatedCompositeFieldContainer[BackupModel]
    search: _containers.ScalarMap[str, str]
    warnings: _containers.RepeatedScalarFieldContainer[str]
    held_seconds: float
    def __init__(self, created: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., files: _Optional[int] = ..., bytes: _Optional[int] = ..., models: _Optional[_Iterable[_Union[BackupModel, _Mapping]]] = ..., search: _Optional[_Mapping[str, str]] = ..., warnings: _Optional[_Iterable[str]] = ..., held_seconds: _Optional[float] = ...) -> None: ...

class BackupModel(_message.Message):
    __slots__ = ("name", "folder", "fingerprint")
    NAME_FIELD_NUMBER: _ClassVar[int]
    FOLDER_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    name: str
    folder: str
    fingerprint: str
    def __init__(self, name: _Optional[str] = ..., folder: _Optional[str] = ..., fingerprint: _Optional[str] = ...) -> None: ...

class BackupFile(_message.Message):
    __slots__ = ("path", "size", "sha256")
    PATH_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    path: str
    size: int
    sha256: bytes
    def __init__(self, path: _Optional[str] = ..., size: _Optional[int] = ..., sha256: _Optional[bytes] = ...) -> None: ...

class BackupFileEnd(_message.Message):
    __slots__ = ("sha256",)
    SHA256_FIELD_NUMBER: _ClassVar[int]
    sha256: bytes
    def __init__(self, sha256: _Optional[bytes] = ...) -> None: ...

class BackupDone(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StatsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StatsReply(_message.Message):
    __slots__ = ("version", "uptime_seconds", "items", "models", "calls", "calls_in_flight", "streams_open", "request_bytes_in_flight", "unread_reply_bytes", "connections", "is_writable", "sync_seconds", "sync_writes", "builds_running", "builds", "builds_failed", "build_seconds", "cache_hits", "cache_misses", "cache_bytes", "memory_bytes", "data_bytes", "disk_free_bytes", "disk_total_bytes")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    UPTIME_SECONDS_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    CALLS_FIELD_NUMBER: _ClassVar[int]
    CALLS_IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    STREAMS_OPEN_FIELD_NUMBER: _ClassVar[int]
    REQUEST_BYTES_IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    UNREAD_REPLY_BYTES_FIELD_NUMBER: _ClassVar[int]
    CONNECTIONS_FIELD_NUMBER: _ClassVar[int]
    IS_WRITABLE_FIELD_NUMBER: _ClassVar[int]
    SYNC_SECONDS_FIELD_NUMBER: _ClassVar[int]
    SYNC_WRITES_FIELD_NUMBER: _ClassVar[int]
    BUILDS_RUNNING_FIELD_NUMBER: _ClassVar[int]
    BUILDS_FIELD_NUMBER: _ClassVar[int]
    BUILDS_FAILED_FIELD_NUMBER: _ClassVar[int]
    BUILD_SECONDS_FIELD_NUMBER: _ClassVar[int]
    CACHE_HITS_FIELD_NUMBER: _ClassVar[int]
    CACHE_MISSES_FIELD_NUMBER: _ClassVar[int]
    CACHE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    DATA_BYTES_FIELD_NUMBER: _ClassVar[int]
    DISK_FREE_BYTES_FIELD_NUMBER: _ClassVar[int]
    DISK_TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    version: str
    uptime_seconds: float
    items: int
    models: _containers.RepeatedCompositeFieldContainer[ModelStats]
    calls: _containers.RepeatedCompositeFieldContainer[CallStats]
    calls_in_flight: int
    streams_open: int
    request_bytes_in_flight: int
    unread_reply_bytes: int
    connections: int
    is_writable: bool
    sync_seconds: StatsHistogram
    sync_writes: StatsHistogram
    builds_running: int
    builds: int
    builds_failed: int
    build_seconds: StatsHistogram
    cache_hits: int
    cache_misses: int
    cache_bytes: int
    memory_bytes: int
    data_bytes: int
    disk_free_bytes: int
    disk_total_bytes: int
    def __init__(self, version: _Optional[str] = ..., uptime_seconds: _Optional[float] = ..., items: _Optional[int] = ..., models: _Optional[_Iterable[_Union[ModelStats, _Mapping]]] = ..., calls: _Optional[_Iterable[_Union[CallStats, _Mapping]]] = ..., calls_in_flight: _Optional[int] = ..., streams_open: _Optional[int] = ..., request_bytes_in_flight: _Optional[int] = ..., unread_reply_bytes: _Optional[int] = ..., connections: _Optional[int] = ..., is_writable: _Optional[bool] = ..., sync_seconds: _Optional[_Union[StatsHistogram, _Mapping]] = ..., sync_writes: _Optional[_Union[StatsHistogram, _Mapping]] = ..., builds_running: _Optional[int] = ..., builds: _Optional[int] = ..., builds_failed: _Optional[int] = ..., build_seconds: _Optional[_Union[StatsHistogram, _Mapping]] = ..., cache_hits: _Optional[int] = ..., cache_misses: _Optional[int] = ..., cache_bytes: _Optional[int] = ..., memory_bytes: _Optional[int] = ..., data_bytes: _Optional[int] = ..., disk_free_bytes: _Optional[int] = ..., disk_total_bytes: _Optional[int] = ...) -> None: ...

class CallStats(_message.Message):
    __slots__ = ("method", "by_status", "seconds")
    class ByStatusEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    METHOD_FIELD_NUMBER: _ClassVar[int]
    BY_STATUS_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    method: str
    by_status: _containers.ScalarMap[str, int]
    seconds: StatsHistogram
    def __init__(self, method: _Optional[str] = ..., by_status: _Optional[_Mapping[str, int]] = ..., seconds: _Optional[_Union[StatsHistogram, _Mapping]] = ...) -> None: ...

class ModelStats(_message.Message):
    __slots__ = ("name", "state", "items", "indexed_rows", "unindexed_rows", "deleted_rows", "segments", "building", "index_failed", "recall", "recall_samples", "disk_bytes", "queue_length", "workers", "worker_restarts", "worker_memory_bytes", "items_run", "batch_items", "queue_seconds", "inference_seconds")
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    INDEXED_ROWS_FIELD_NUMBER: _ClassVar[int]
    UNINDEXED_ROWS_FIELD_NUMBER: _ClassVar[int]
    DELETED_ROWS_FIELD_NUMBER: _ClassVar[int]
    SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    BUILDING_FIELD_NUMBER: _ClassVar[int]
    INDEX_FAILED_FIELD_NUMBER: _ClassVar[int]
    RECALL_FIELD_NUMBER: _ClassVar[int]
    RECALL_SAMPLES_FIELD_NUMBER: _ClassVar[int]
    DISK_BYTES_FIELD_NUMBER: _ClassVar[int]
    QUEUE_LENGTH_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    WORKER_RESTARTS_FIELD_NUMBER: _ClassVar[int]
    WORKER_MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    ITEMS_RUN_FIELD_NUMBER: _ClassVar[int]
    BATCH_ITEMS_FIELD_NUMBER: _ClassVar[int]
    QUEUE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    INFERENCE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    name: str
    state: str
    items: int
    indexed_rows: int
    unindexed_rows: int
    deleted_rows: int
    segments: int
    building: bool
    index_failed: bool
    recall: float
    recall_samples: int
    disk_bytes: int
    queue_length: int
    workers: int
    worker_restarts: int
    worker_memory_bytes: int
    items_run: int
    batch_items: StatsHistogram
    queue_seconds: StatsHistogram
    inference_seconds: StatsHistogram
    def __init__(self, name: _Optional[str] = ..., state: _Optional[str] = ..., items: _Optional[int] = ..., indexed_rows: _Optional[int] = ..., unindexed_rows: _Optional[int] = ..., deleted_rows: _Optional[int] = ..., segments: _Optional[int] = ..., building: _Optional[bool] = ..., index_failed: _Optional[bool] = ..., recall: _Optional[float] = ..., recall_samples: _Optional[int] = ..., disk_bytes: _Optional[int] = ..., queue_length: _Optional[int] = ..., workers: _Optional[int] = ..., worker_restarts: _Optional[int] = ..., worker_memory_bytes: _Optional[int] = ..., items_run: _Optional[int] = ..., batch_items: _Optional[_Union[StatsHistogram, _Mapping]] = ..., queue_seconds: _Optional[_Union[StatsHistogram, _Mapping]] = ..., inference_seconds: _Optional[_Union[StatsHistogram, _Mapping]] = ...) -> None: ...

class StatsHistogram(_message.Message):
    __slots__ = ("bounds", "counts", "total")
    BOUNDS_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    bounds: _containers.RepeatedScalarFieldContainer[float]
    counts: _containers.RepeatedScalarFieldContainer[int]
    total: float
    def __init__(self, bounds: _Optional[_Iterable[float]] = ..., counts: _Optional[_Iterable[int]] = ..., total: _Optional[float] = ...) -> None: ...
