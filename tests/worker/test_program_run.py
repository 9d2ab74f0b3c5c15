"""An error in one item of a batch is reported for that item alone."""

import pytest
import torch

from euclidesdb_server.worker.program import SHORT, BadOutput
from tests.support.models import Tiny
from tests.worker.odd_programs import Moody, load

BLACK = torch.zeros((3, 16, 16), dtype=torch.uint8)
WHITE = torch.full((3, 16, 16), 255, dtype=torch.uint8)


def gray(value, size=16):
    return torch.full((3, size, size), value, dtype=torch.uint8)


@pytest.fixture(scope="module")
def moody(tmp_path_factory):
    return load(tmp_path_factory.mktemp("moody"), Moody())


def brightness(result):
    """Of each item that succeeded."""
    assert result.predictions.shape == result.features.shape
    assert result.predictions.shape[1] == 3
    return [round(float(value) * 255) for value in result.features[:, 0]]


def shared_with(result):
    """Of each item that succeeded: how many items shared its forward pass, if more than two."""
    return [int(value) for value in result.predictions[:, 0]]


def test_items_of_one_shape_share_a_forward_pass(moody):
    result = moody.run([gray(value) for value in range(1, 8)])
    assert brightness(result) == [1, 2, 3, 4, 5, 6, 7]
    assert shared_with(result) == [7] * 7
    assert result.errors == [None] * 7


def test_a_poisonous_item_fails_alone(moody):
    result = moody.run([gray(1), gray(2), BLACK, gray(3)])
    assert brightness(result) == [1, 2, 3]
    failure = result.errors.pop(2)
    assert isinstance(failure, Exception)
    assert "no light" in str(failure)
    assert result.errors == [None] * 3


def test_an_item_that_comes_out_as_nan_fails_alone(moody):
    result = moody.run([gray(1), WHITE, gray(3)])
    assert brightness(result) == [1, 3]
    failure = result.errors.pop(1)
    assert isinstance(failure, BadOutput)
    assert str(failure) == "it returned NaN or infinity"
    assert result.errors == [None] * 2
    assert shared_with(result) == [3, 3], "the batch was not run again for it"


def test_items_of_different_shapes_are_run_in_groups(moody):
    sizes = [16, 24, 16, 24, 16, 24, 8]
    result = moody.run([gray(value, size) for value, size in enumerate(sizes, start=1)])
    assert brightness(result) == [1, 2, 3, 4, 5, 6, 7]
    assert shared_with(result) == [3, 3, 3, 3, 3, 3, 0]


def test_a_poisonous_group_does_not_touch_the_others(moody):
    result = moody.run([BLACK, *(gray(value, 24) for value in (1, 2, 3))])
    assert isinstance(result.errors[0], Exception)
    assert result.errors[1:] == [None] * 3
    assert brightness(result) == [1, 2, 3]
    assert shared_with(result) == [3, 3, 3]


def test_an_empty_batch_has_no_rows(moody):
    result = moody.run([])
    assert (result.features.shape, result.predictions.shape) == ((0, 3), (0, 3))
    assert result.errors == []


def test_a_batch_gives_what_its_items_give_alone(tmp_path):
    program = load(tmp_path, Tiny(), feature_dim=12)
    generator = torch.Generator().manual_seed(0)
    items = [
        torch.randint(0, 256, (3, size, 9), dtype=torch.uint8, generator=generator)
        for size in (9, 12, 9, 30, 12, 9)
    ]
    together = program.run(items)
    alone = [program.run([item]) for item in items]
    for matrix in ("features", "predictions"):
        expected = torch.cat([getattr(result, matrix) for result in alone])
        torch.testing.assert_close(getattr(together, matrix), expected)


def test_a_forward_pass_runs_on_one_thread_if_it_is_short_there(tmp_path, monkeypatch):
    program = load(tmp_path, Moody())
    module, threads = program.module, []

    def run(images):
        threads.append(torch.get_num_threads())
        return module(images)

    monkeypatch.setattr(program, "module", run)
    program.threads = 2
    program.measure()
    assert set(threads) == {1}, "it is measured there"
    program._seconds_per_element = SHORT / 1000
    small, large = gray(1, size=8), gray(2, size=32)
    del threads[:]
    for items in ([small], [large], [small] * 6, [large, small]):
        program.run(items)
    assert threads == [1, 2, 2, 2, 1]
    assert torch.get_num_threads() == 1


def test_how_long_a_forward_pass_takes_is_known_once_the_program_is_loaded(tmp_path):
    program = load(tmp_path, Moody())
    assert program.is_short([gray(1)])
    assert not program.is_short([gray(1, size=10_000)])
    assert program.is_short([])


def test_an_output_that_is_a_weight_is_read(tmp_path):
    program = load(tmp_path, Moody())
    weight = torch.nn.Parameter(torch.ones(1, 3))
    program.module = lambda _images: (weight, weight)
    assert program.run([gray(1)]).features.numpy().tolist() == [[1, 1, 1]]
