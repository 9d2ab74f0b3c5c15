"""What is wrong with one item of a batch is said of that item alone."""

import pytest
import torch

from euclidesdb_server.worker.program import BadOutput
from tests.support.models import Tiny
from tests.worker.odd_programs import Moody, load

BLACK = torch.zeros((3, 16, 16), dtype=torch.uint8)
WHITE = torch.full((3, 16, 16), 255, dtype=torch.uint8)


def gray(value, size=16):
    return torch.full((3, size, size), value, dtype=torch.uint8)


@pytest.fixture(scope="module")
def moody(tmp_path_factory):
    return load(tmp_path_factory.mktemp("moody"), Moody())


def brightness(row):
    predictions, features = row
    assert predictions.shape == features.shape == (3,)
    return round(float(features[0]) * 255)


def test_items_of_one_shape_share_a_forward_pass(moody):
    rows = moody.run([gray(value) for value in range(1, 8)])
    assert [brightness(row) for row in rows] == [1, 2, 3, 4, 5, 6, 7]
    assert {float(row[0][0]) for row in rows} == {7.0}


def test_a_poisonous_item_fails_alone(moody):
    answers = moody.run([gray(1), gray(2), BLACK, gray(3)])
    assert [brightness(answers[index]) for index in (0, 1, 3)] == [1, 2, 3]
    assert isinstance(answers[2], Exception)
    assert "no light" in str(answers[2])


def test_an_item_that_comes_out_as_nan_fails_alone(moody):
    answers = moody.run([gray(1), WHITE, gray(3)])
    assert [brightness(answers[0]), brightness(answers[2])] == [1, 3]
    assert isinstance(answers[1], BadOutput)
    assert str(answers[1]) == "it returned NaN or infinity"
    assert float(answers[0][0][0]) == 3.0, "the batch was not run again for it"


def test_items_of_different_shapes_are_run_in_groups(moody):
    sizes = [16, 24, 16, 24, 16, 24, 8]
    rows = moody.run([gray(value, size) for value, size in enumerate(sizes, start=1)])
    assert [brightness(row) for row in rows] == [1, 2, 3, 4, 5, 6, 7]
    assert [float(row[0][0]) for row in rows] == [3, 3, 3, 3, 3, 3, 0]


def test_a_poisonous_group_does_not_touch_the_others(moody):
    answers = moody.run([BLACK, *(gray(value, 24) for value in (1, 2, 3))])
    assert isinstance(answers[0], Exception)
    assert [float(row[0][0]) for row in answers[1:]] == [3, 3, 3]


def test_no_items_are_no_rows(moody):
    assert moody.run([]) == []


def test_a_batch_gives_what_its_items_give_alone(tmp_path):
    program = load(tmp_path, Tiny(), feature_dim=12)
    generator = torch.Generator().manual_seed(0)
    items = [
        torch.randint(0, 256, (3, size, 9), dtype=torch.uint8, generator=generator)
        for size in (9, 12, 9, 30, 12, 9)
    ]
    for item, row in zip(items, program.run(items), strict=True):
        torch.testing.assert_close(row, program.run([item])[0])
