"""A program that contradicts its model.conf is refused before it serves, with the reason."""

import pytest
import torch

from euclidesdb_server.errors import ModelLoadError
from tests.support.errors import error_message
from tests.support.models import save_model
from tests.worker.odd_programs import (
    DropoutLeftOn,
    KeepsItsGrid,
    Means,
    Needs32Pixels,
    NoPredictions,
    NormalizedOverTheBatch,
    NotANumber,
    NotATensor,
    OneAtATime,
    OneRowForAll,
    OnlyFeatures,
    OtherPrecision,
    SoftmaxOverTheBatch,
    ThreeOutputs,
    WholeNumbers,
    load,
    load_folder,
)

GREY_48 = torch.full((3, 48, 48), 51, dtype=torch.uint8)


def outcome(program):
    """Features, predictions and error of one item."""
    result = program.run([GREY_48])
    (features,), (predictions,), (error,) = result.features, result.predictions, result.errors
    return features, predictions, error


def test_a_program_that_keeps_its_word_is_loaded(tmp_path):
    program = load(tmp_path, Means())
    features, predictions, _ = outcome(program)
    assert features.tolist() == pytest.approx([0.2, 0.2, 0.2])
    assert predictions.tolist() == pytest.approx([0.2, 0.2, 0.2])


def test_a_wrong_feature_dim_is_found(tmp_path):
    message = error_message(ModelLoadError, load, tmp_path, Means(), feature_dim=512)
    assert "feature_dim = 512 in model.conf, but it returned shape (1, 3) for 1 item" in message


def test_a_wrong_prediction_dim_is_found(tmp_path):
    message = error_message(ModelLoadError, load, tmp_path, Means(), prediction_dim=1000)
    assert "prediction_dim = 1000 in model.conf, but it returned shape (1, 3)" in message


def test_a_softmax_over_the_batch_is_found(tmp_path):
    message = error_message(ModelLoadError, load, tmp_path, SoftmaxOverTheBatch())
    assert "the program's predictions of an item change when another shares its batch" in message


def test_features_that_depend_on_the_batch_are_found(tmp_path):
    message = error_message(ModelLoadError, load, tmp_path, NormalizedOverTheBatch())
    assert "the program's features of an item change when another shares its batch" in message


def test_batch_dependence_is_accepted_if_max_batch_size_is_one(tmp_path):
    assert outcome(load(tmp_path, SoftmaxOverTheBatch(), max_batch_size=1))[2] is None


def test_dropout_left_on_is_found(tmp_path):
    message = error_message(ModelLoadError, load, tmp_path, DropoutLeftOn(), feature_dim=60)
    assert "features change from one run to the next: is it in eval mode?" in message


def test_dropout_is_found_without_batches_too(tmp_path):
    message = error_message(
        ModelLoadError, load, tmp_path, DropoutLeftOn(), feature_dim=60, max_batch_size=1
    )
    assert "is it in eval mode?" in message


def test_not_a_number_is_found(tmp_path):
    assert "the program's features are not finite" in error_message(
        ModelLoadError, load, tmp_path, NotANumber()
    )


def test_a_fixed_batch_dimension_is_refused_with_advice(tmp_path):
    message = error_message(ModelLoadError, load, tmp_path, OneAtATime())
    assert "takes one item but not two together" in message
    assert "export it with a free batch dimension, or set [model] max_batch_size = 1" in message


def test_a_fixed_batch_dimension_is_served_without_batches(tmp_path):
    program = load(tmp_path, OneAtATime(), max_batch_size=1)
    assert outcome(program)[0].tolist() == pytest.approx([0.2, 0.2, 0.2])


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (OnlyFeatures(), "it returned a tensor torch.float32 (1, 3), not (predictions, features)"),
        (ThreeOutputs(), "it returned a tuple of 3, not (predictions, features)"),
        (WholeNumbers(), "feature_dim: it returned a tensor torch.int64 (1, 3), not a float"),
        (NotATensor(), "feature_dim: it returned list, not a float tensor"),
        (OneRowForAll(), "feature_dim = 3 in model.conf, but it returned shape (3,)"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, torch.nn.Module) else "",
)
def test_another_kind_of_output_is_named(tmp_path, module, expected):
    message = error_message(ModelLoadError, load, tmp_path, module)
    assert message.startswith("the program does not match model.conf: ")
    assert expected in message


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_other_precisions_become_float32(tmp_path, dtype):
    features, predictions, _ = outcome(load(tmp_path, OtherPrecision(dtype)))
    assert (predictions.dtype, features.dtype) == (torch.float32, torch.float32)
    torch.testing.assert_close(features, torch.full((3,), 0.2), atol=2e-3, rtol=0)


def test_dimensions_of_one_are_flattened(tmp_path):
    assert outcome(load(tmp_path, KeepsItsGrid()))[0].shape == (3,)


def test_a_model_may_have_no_predictions(tmp_path):
    program = load(tmp_path, NoPredictions(), prediction_dim=0)
    features, predictions, _ = outcome(program)
    assert (len(predictions), len(features)) == (0, 3)


def test_a_model_that_takes_one_size_is_loaded_if_that_is_a_usual_one(tmp_path):
    assert load(tmp_path, Needs32Pixels())


def test_a_model_given_a_size_it_cannot_take_is_refused_with_its_own_words(tmp_path):
    message = error_message(ModelLoadError, load, tmp_path, Needs32Pixels(), image_size=48)
    assert "the program fails on sample inputs" in message
    assert (
        "does [model] declare what it takes (input, image_size, image_mode, input_shape)?"
        in message
    )


def test_an_image_mode_the_model_cannot_take_is_refused(tmp_path):
    message = error_message(
        ModelLoadError, load, tmp_path, Needs32Pixels(), image_size=32, image_mode="L"
    )
    assert "the program fails on sample inputs" in message


@pytest.mark.parametrize("damage", ["junk", "cut", "empty"])
def test_a_corrupt_archive_is_not_a_torchscript_program(tmp_path, damage):
    folder = save_model(tmp_path)
    program = folder / "program.pt"
    whole = program.read_bytes()
    program.write_bytes(
        {"junk": b"junk" * 99, "cut": whole[: len(whole) // 2], "empty": b""}[damage]
    )
    with pytest.raises(ModelLoadError, match="is not a TorchScript program") as caught:
        load_folder(folder)
    assert str(program) in str(caught.value)


def test_a_state_dict_is_not_a_torchscript_program(tmp_path):
    folder = save_model(tmp_path)
    torch.save({"weight": torch.zeros(2)}, folder / "program.pt")
    with pytest.raises(ModelLoadError, match="is not a TorchScript program"):
        load_folder(folder)
