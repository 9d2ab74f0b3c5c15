"""Filters over the wire: read whole, with every name resolved, or refused for a named reason."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given, settings

from euclidesdb_protos.v1 import database_pb2 as pb
from euclidesdb_server.errors import InvalidRequest, ModelUnavailable, UnknownModel
from euclidesdb_server.rpc.answers import parsed
from euclidesdb_server.rpc.v1_fields import MAX_NAME_CHARACTERS, field_of, value_message, value_of
from euclidesdb_server.rpc.v1_filters import (
    MAX_CONDITIONS,
    MAX_DEPTH,
    MAX_VALUES,
    filter_tree,
)
from euclidesdb_server.values.filters import (
    All,
    AnyOf,
    Attribute,
    Comparison,
    Exists,
    Filter,
    ItemId,
    Not,
    OneOf,
    Operator,
    Prediction,
    PredictionValue,
    Prefix,
)
from tests.support.cases import each_as_subtest
from tests.support.filter_messages import filter_message
from tests.support.filter_trees import DATETIMES, filters, literals

MODELS = {3: "digits", 4: "digits@ab12", 5: "a.b"}
LABELS = ("a", "b")
LABEL, VECTOR = PredictionValue.LABEL, PredictionValue.VECTOR


class Models:
    """A resolver of the models above."""

    def __init__(self):
        self.asked = 0

    def prediction(self, model, value):
        self.asked += 1
        if model == "loading":
            raise ModelUnavailable("model 'loading' is loading")
        numbers = [number for number, name in MODELS.items() if name == model]
        return Prediction(numbers[0], value, LABELS) if numbers else None

    def refusal(self, model):
        return UnknownModel(f"no model {model!r}")


def name(text):
    return pb.Field(name=text)


def compare(field, operator=pb.Comparison.OPERATOR_EQUAL, **value):
    compared = pb.Comparison(field=field, operator=operator, value=pb.Value(**value))
    return pb.Filter(comparison=compared)


def negated(message, times=1):
    for _ in range(times):
        inner, message = message, pb.Filter()
        getattr(message, "not").CopyFrom(inner)
    return message


def joined(kind, filters_joined):
    message = pb.Filter()
    getattr(message, kind).filters.extend(filters_joined)
    return message


def prediction(model, value):
    return pb.Field(prediction=pb.PredictionField(model=model, value=value))


def is_sendable(condition: Filter) -> bool:
    """Whether the server takes it: booleans have no order, and some predictions no comparison."""
    match condition:
        case All(several) | AnyOf(several):
            return all(map(is_sendable, several))
        case Not(inner):
            return is_sendable(inner)
        case Exists():
            return True
    value = condition.field.value if isinstance(condition.field, Prediction) else None
    if isinstance(condition, Comparison | OneOf | Prefix) and value is PredictionValue.TOP_LABELS:
        return False
    if isinstance(condition, Comparison) and isinstance(condition.value, bool):
        return condition.operator is Operator.EQUAL and value is not VECTOR
    return value is not VECTOR


@settings(max_examples=300, deadline=None)
@given(filters())
def test_a_filter_that_was_sent_is_the_filter_that_is_read(condition):
    data = filter_message(condition, MODELS).SerializeToString()
    message = pb.Filter.FromString(data)
    if is_sendable(condition):
        assert filter_tree(message, Models()) == condition
    else:
        with pytest.raises(InvalidRequest):
            filter_tree(message, Models())


@settings(deadline=None)
@given(literals)
def test_values_survive_the_wire(value):
    read = value_of(pb.Value.FromString(value_message(value).SerializeToString()), name("x"))
    assert (type(read), read) == (type(value), value)


@each_as_subtest(
    ("text", "field"),
    {
        "$id": ItemId(),
        "id": Attribute("id"),
        "size.width": Attribute("size.width"),
        "digits.label": Prediction(3, LABEL, LABELS),
        "digits.top_labels": Prediction(3, PredictionValue.TOP_LABELS, LABELS),
        "digits@ab12.entropy": Prediction(4, PredictionValue.ENTROPY, LABELS),
        "a.b.confidence": Prediction(5, PredictionValue.CONFIDENCE, LABELS),
        "digits.labels": Attribute("digits.labels"),
        "digits.LABEL": Attribute("digits.LABEL"),
        "other.label": Attribute("other.label"),
        "label": Attribute("label"),
        ".label": Attribute(".label"),
        "digits": Attribute("digits"),
    }.items(),
)
def test_a_name_refers_to_the_id_a_prediction_or_an_attribute(text, field):
    assert field_of(name(text), Models()) == field


def test_an_attribute_may_have_the_name_of_a_prediction():
    assert field_of(pb.Field(attribute="digits.label"), Models()) == Attribute("digits.label")
    assert field_of(pb.Field(attribute="$id"), Models()) == Attribute("$id")


def test_a_name_refers_to_the_same_throughout_a_filter():
    models = Models()
    message = joined("any", [compare(name("digits.label"), string_value=each) for each in "abc"])
    filter_tree(message, models)
    assert models.asked == 1


def test_the_prediction_of_an_unknown_model_is_not_found():
    with pytest.raises(UnknownModel, match="no model 'shoes'"):
        field_of(prediction("shoes", pb.PREDICTION_VALUE_LABEL), Models())


def test_a_name_with_a_model_that_has_no_space_yet_is_not_taken_for_an_attribute():
    with pytest.raises(ModelUnavailable):
        field_of(name("loading.label"), Models())


def test_only_whether_a_vector_exists_can_be_asked():
    exists = pb.Filter(exists=name("digits.vector"))
    assert filter_tree(exists, Models()) == Exists(Prediction(3, VECTOR, LABELS))
    with pytest.raises(InvalidRequest, match=r"'digits.vector' exists or does not"):
        field_of(name("digits.vector"), Models())


def test_fractions_of_microseconds_are_ignored():
    message = pb.Value(timestamp_value=Timestamp(seconds=-1, nanos=123456789))
    expected = datetime(1969, 12, 31, 23, 59, 59, 123456, UTC)
    assert value_of(message, name("x")) == expected


def test_the_first_and_the_last_time_are_read():
    for time in DATETIMES[-2:]:
        assert value_of(value_message(time), name("x")) == time


def test_a_filter_may_have_as_much_as_the_limits_say():
    x = compare(name("x"), int_value=1)
    filter_tree(joined("any", [x] * (MAX_CONDITIONS - 1)), Models())
    filter_tree(negated(x, MAX_DEPTH - 1), Models())
    values = [pb.Value(int_value=1)] * (MAX_VALUES // 2)
    one_of = pb.Filter(one_of=pb.OneOf(field=name("x"), values=values))
    filter_tree(joined("all", [one_of, one_of]), Models())


def test_the_deepest_filter_that_is_served_passes_through_protobuf():
    message = compare(prediction("digits", pb.PREDICTION_VALUE_LABEL), int_value=1)
    for _ in range(MAX_DEPTH - 1):
        message = joined("all", [message])
    request = pb.FindSimilarRequest(options=pb.SearchOptions(filter=message))
    read = pb.FindSimilarRequest.FromString(request.SerializeToString())
    filter_tree(read.options.filter, Models())


def test_a_filter_that_protobuf_cannot_parse_is_refused_as_too_deep():
    method: Any = SimpleNamespace(parse=pb.CountItemsRequest.FromString)
    data = pb.Filter(exists=name("x")).SerializeToString()
    for field in [8] * 100 + [1]:  # a hundred times `not`, then the request's filter
        data = bytes([field << 3 | 2, len(data) & 127 | 128, len(data) >> 7]) + data
    with pytest.raises(InvalidRequest, match=r"parsed: its messages are nested too deeply$"):
        parsed(method, data)


X = name("x")
LONG = "x" * (MAX_NAME_CHARACTERS + 1)
VALUES = [pb.Value(int_value=1)] * (MAX_VALUES // 2)
REFUSED = {
    "nothing": (pb.Filter(), "a filter is not set"),
    "nothing inside": (joined("all", [pb.Filter()]), "a filter is not set"),
    "no negated filter": (negated(pb.Filter()), "a filter is not set"),
    "no field": (compare(None, int_value=1), "field is not set; set its name, attribute or pred"),
    "no name": (compare(name(""), int_value=1), "field.name = '' has 0 characters"),
    "no attribute": (pb.Filter(exists=pb.Field(attribute="")), "field.attribute = '' has 0 char"),
    "a long name": (pb.Filter(exists=name(LONG)), r"x\.\.\.' has 1025 characters; 1 to 1,024"),
    "no model": (pb.Filter(exists=prediction("", 1)), "field.prediction.model = '' has 0 char"),
    "no prediction": (
        pb.Filter(exists=prediction("digits", 0)),
        "prediction.value = 0 of model 'digits' should be 1",
    ),
    "an odd prediction": (pb.Filter(exists=prediction("digits", 99)), "prediction.value = 99 of"),
    "no value": (compare(X), "the value that 'x' is compared with is not set"),
    "no operator": (compare(X, 0, int_value=1), "operator = 0 of the comparison of 'x' should be"),
    "an odd operator": (compare(X, 77, int_value=1), "operator = 77 of the comparison of 'x'"),
    "NaN": (compare(X, float_value=math.nan), "'x' is compared with NaN"),
    "an ordered boolean": (compare(X, 2, bool_value=True), "'x' < true: booleans have no order"),
    "an early time": (
        compare(X, timestamp_value=Timestamp(seconds=-62_135_596_801)),
        "'x' is compared with the timestamp of -62135596801 seconds and 0 nanoseconds",
    ),
    "a late time": (compare(X, timestamp_value=Timestamp(seconds=2**62)), "the years 1 to 9999"),
    "a negative fraction": (compare(X, timestamp_value=Timestamp(nanos=-1)), "-1 nanoseconds"),
    "a large fraction": (compare(X, timestamp_value=Timestamp(nanos=10**9)), "the timestamp of 0"),
    "NaN in a list": (
        pb.Filter(one_of=pb.OneOf(field=X, values=[pb.Value(float_value=math.nan)])),
        "'x' is compared with NaN",
    ),
    "nothing in a list": (
        pb.Filter(one_of=pb.OneOf(field=X, values=[pb.Value()])),
        "the value that 'x' is compared with is not set",
    ),
    "no element": (pb.Filter(contains=pb.Contains(field=X)), "the value that 'x' is compared"),
    "a vector's value": (
        compare(prediction("digits", pb.PREDICTION_VALUE_VECTOR), int_value=1),
        "'digits.vector' exists or does not",
    ),
    "a vector's element": (
        pb.Filter(contains=pb.Contains(field=name("digits.vector"), value=VALUES[0])),
        "'digits.vector' exists or does not",
    ),
    "a list compared": (compare(name("digits.top_labels"), int_value=1), "top_labels' is a list"),
    "a list's beginning": (
        pb.Filter(prefix=pb.Prefix(field=name("digits.top_labels"), prefix="a")),
        "'digits.top_labels' is a list: it contains a value or does not",
    ),
    "too many conditions": (
        joined("any", [compare(X, int_value=1)] * MAX_CONDITIONS),
        "the filter has more than 1,000 conditions",
    ),
    "too deep": (negated(compare(X, int_value=1), MAX_DEPTH), "nested more than 32 deep"),
    "too many values": (
        joined("all", [pb.Filter(one_of=pb.OneOf(field=X, values=VALUES))] * 3),
        "the lists of the filter have more than 100,000 values",
    ),
}


@each_as_subtest(("message", "reason"), REFUSED.values(), ids=REFUSED)
def test_a_filter_that_cannot_be_read_is_refused_for_its_reason(message, reason):
    with pytest.raises(InvalidRequest, match=reason) as refused:
        filter_tree(message, Models())
    assert len(str(refused.value)) < 300


def test_a_version_that_was_dropped_is_not_an_attribute():
    with pytest.raises(UnknownModel, match=r"digits@0f3a"):
        filter_tree(compare(name("digits@0f3a.label"), string_value="a"), Models())
    kept = filter_tree(compare(name("user@host.label"), string_value="a"), Models())
    assert kept == Comparison(Attribute("user@host.label"), Operator.EQUAL, "a")
