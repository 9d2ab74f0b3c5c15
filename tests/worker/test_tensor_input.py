"""Tensors reach the program as they are, or are refused with what is wrong with them."""

import io

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from euclidesdb_server.worker.inputs import Undecodable
from euclidesdb_server.worker.inputs.tensor import TensorInput
from tests.support.cases import each_as_subtest
from tests.support.errors import error_message
from tests.worker.odd_programs import load

CPU = torch.device("cpu")
DTYPES = ("float32", "float64", "float16", "int8", "int16", "int32", "int64", "uint8", "bool")


def tensor_input(*shape, dtype="float32"):
    return TensorInput({"input_dtype": dtype, "input_shape": [*map(str, shape)]})


def npy(array):
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asarray(array), allow_pickle=True)
    return file.getvalue()


def npy_of(header, data=b""):
    """A file with that header, valid or not."""
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


def zeros(*shape, dtype="float32"):
    return npy(np.zeros(shape, dtype))


@each_as_subtest("dtype", DTYPES)
def test_every_dtype_reaches_the_program_as_it_is(dtype):
    array = np.array([[0, 1, 1], [1, 0, 1]], dtype)
    tensor = tensor_input(2, 3, dtype=dtype).decode(npy(array))
    assert tensor.dtype == getattr(torch, dtype)
    np.testing.assert_array_equal(tensor.numpy(), array)


@each_as_subtest("dtype", DTYPES)
def test_samples_are_what_items_of_that_dtype_would_be(dtype):
    inputs = tensor_input(2, "*", dtype=dtype)
    first, second = next(inputs.samples())
    assert first.shape == second.shape == (2, 16)
    assert first.dtype == second.dtype == getattr(torch, dtype)
    assert not torch.equal(first, second)


def test_an_array_in_the_order_of_fortran_is_the_same_array():
    array = np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3))
    tensor = tensor_input(2, 3).decode(npy(array))
    assert tensor.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert tensor.is_contiguous()


def test_a_free_dimension_takes_any_length():
    inputs = tensor_input(2, "*")
    assert [inputs.decode(zeros(2, n)).shape for n in (1, 7)] == [(2, 1), (2, 7)]


def test_an_item_may_be_a_single_number():
    inputs = tensor_input()
    number = inputs.decode(npy(np.float32(7)))
    assert (number.shape, float(number)) == ((), 7)
    (pair,) = inputs.samples()
    assert inputs.collate(pair, CPU)[0].shape == (2,)


def test_a_length_may_have_leading_zeros():
    assert tensor_input("016").decode(zeros(16)).shape == (16,)


@pytest.mark.parametrize(
    "shape", [(2,), (2, 4, 1), (3, 4), (2, 0)], ids=lambda shape: "x".join(map(str, shape))
)
def test_a_wrong_shape_is_named_with_the_expected_one(shape):
    message = error_message(Undecodable, tensor_input(2, "*").decode, zeros(*shape))
    assert message == f"the tensor has shape {shape}, the model takes (2, *)"


@pytest.mark.parametrize("dtype", ["float64", ">f4", "int32", "complex64"])
def test_a_wrong_dtype_is_named_with_the_expected_one(dtype):
    message = error_message(Undecodable, tensor_input(3).decode, zeros(3, dtype=dtype))
    assert message == f"the tensor is {np.dtype(dtype)}, the model takes float32"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_values_that_are_not_finite_are_refused(dtype, value):
    data = npy(np.array([0, value], dtype))
    message = error_message(Undecodable, tensor_input(2, dtype=dtype).decode, data)
    assert message == "the tensor has values that are NaN or infinite"


HOSTILE = {
    "nothing": b"",
    "junk": bytes(range(256)),
    "objects": npy(np.array([{}, []], object)),
    "cut in its data": zeros(2)[:-1],
    "cut in its header": zeros(2)[:40],
    "a header of a megabyte": b"\x93NUMPY\x02\x00" + (10**6).to_bytes(4, "little") + b" " * 10**6,
    "a header of gigabytes claimed": b"\x93NUMPY\x02\x00\xff\xff\xff\xff{",
    "terabytes claimed": npy_of(
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,)}"
    ),
    "more than an int64 claimed": npy_of(
        "{'descr': '<f4', 'fortran_order': False, 'shape': (8589934592, 8589934592)}"
    ),
    "negative": npy_of("{'descr': '<f4', 'fortran_order': False, 'shape': (-2,)}", bytes(8)),
    "an expression": npy_of("{'descr': __import__('os').getcwd(), 'shape': (2,)}"),
    "brackets without end": npy_of("(" * 9_000),
    "an unknown version": b"\x93NUMPY\x09\x00" + zeros(2)[8:],
}


@each_as_subtest("data", HOSTILE.values(), ids=HOSTILE)
def test_hostile_bytes_are_refused(data):
    assert error_message(Undecodable, tensor_input("*").decode, data).startswith(
        "the tensor cannot be read: "
    )


@pytest.mark.filterwarnings("ignore")  # NumPy's about odd headers, which a worker logs
@settings(deadline=None, derandomize=True, database=None)
@given(st.binary(max_size=100), st.integers(0, 200))
@example(b"", 0)
def test_damaged_bytes_are_a_tensor_or_undecodable(damage, place):
    good = zeros(3, 4)
    data = good[:place] + damage + good[place + len(damage) :]
    try:
        tensor = tensor_input("*", 4).decode(data)
    except Undecodable:
        assert data != good
    else:
        assert tensor.shape[1:] == (4,)


class MeanAndPeak(torch.nn.Module):
    """Features of windows (n, 2, any): the mean and the peak of each of the 2."""

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        return torch.cat([windows.mean(dim=2), windows.amax(dim=2)], dim=1)


def test_tensors_of_several_lengths_are_answered_in_their_places(tmp_path):
    program = load(
        tmp_path, MeanAndPeak(), input="tensor", input_shape="2, *",
        feature_dim=4, prediction_dim=0,
    )  # fmt: skip
    arrays = [np.full((2, length), length, np.float32) for length in (5, 9, 5, 1)]
    result = program.run([program.inputs.decode(npy(array)) for array in arrays])
    assert result.features.tolist() == [[n] * 4 for n in (5, 9, 5, 1)]
