"""The shipped digits program: what it promises, and that its script still makes it."""

import configparser
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.late_import import LateImport

demo_digits = LateImport("euclidesdb_server.demo.digits")  # which imports scikit-learn
FOLDER = Path(__file__).parents[2] / "models" / "digits"


def as_images(digits):
    pixels = np.stack([demo_digits.decode_png(digit.png) for digit in digits])
    return torch.from_numpy(pixels).unsqueeze(1).float() / 255


def as_labels(digits):
    return np.array([digit.label for digit in digits])


def embed(program, images):
    with torch.inference_mode():
        predictions, features = program(images)
    return predictions.numpy(), features.numpy()


@pytest.fixture(scope="module")
def split():
    return demo_digits.split_digits()


@pytest.fixture(scope="module")
def program():
    return torch.jit.load(FOLDER / "digits.pt")


def test_five_nearest_of_held_out_digits_are_of_their_class(program, split):
    _, added = embed(program, as_images(split.added))
    _, held_out = embed(program, as_images(split.held_out))
    distances = np.linalg.norm(held_out[:, np.newaxis] - added, axis=2)
    nearest = np.argsort(distances, axis=1)[:, :5]
    same_class = as_labels(split.added)[nearest] == as_labels(split.held_out)[:, np.newaxis]
    assert (
        same_class.mean() >= 0.98
    )  # 0.9906 when it was shipped; below 0.95 the demo is not convincing


def test_held_out_digits_are_recognized(program, split):
    predictions, _ = embed(program, as_images(split.held_out))
    assert (predictions.argmax(axis=1) == as_labels(split.held_out)).mean() >= 0.98


def test_predictions_are_probabilities_and_features_unit_vectors(program, split):
    predictions, features = embed(program, as_images(split.held_out))
    assert predictions.dtype == features.dtype == np.float32
    assert predictions.shape == (297, 10)
    assert features.shape == (297, 64)
    np.testing.assert_allclose(predictions.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, atol=1e-5)


def test_a_digit_embeds_alike_alone_and_in_a_batch(program, split):
    images = as_images(split.held_out[:20])
    together = embed(program, images)
    apart = [embed(program, images[row : row + 1]) for row in range(len(images))]
    for whole, parts in zip(together, zip(*apart, strict=True), strict=True):
        np.testing.assert_allclose(whole, np.concatenate(parts), atol=1e-5)


def test_a_blank_image_has_finite_features(program):
    predictions, features = embed(program, torch.zeros(1, 1, 8, 8))
    assert np.isfinite(predictions).all()
    assert np.isfinite(features).all()


def test_model_conf_describes_the_program():
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(FOLDER / "model.conf", encoding="utf-8")
    model = parser["model"]
    assert (FOLDER / model["filename"]).stat().st_size < 100_000
    assert (model["prediction_dim"], model["feature_dim"]) == ("10", "64")
    assert model["labels"].split() == [str(digit) for digit in range(10)]


def run_python(*arguments):
    done = subprocess.run(
        [sys.executable, "-B", *arguments], cwd=FOLDER, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


@pytest.mark.long
def test_the_script_makes_a_program_like_the_shipped_one(split, tmp_path):
    once = f"import train; train.EPOCHS = 1; train.main(['--output', {str(tmp_path)!r}])"
    run_python("-c", once)
    predictions, features = embed(torch.jit.load(tmp_path / "digits.pt"), as_images(split.held_out))
    assert (predictions.shape, features.shape) == ((297, 10), (297, 64))
    assert (predictions.argmax(axis=1) == as_labels(split.held_out)).mean() > 0.5


@pytest.mark.long
def test_the_script_makes_the_shipped_program_again(program, split, tmp_path):
    run_python("train.py", "--output", tmp_path)
    images = as_images(split.held_out)
    again = embed(torch.jit.load(tmp_path / "digits.pt"), images)
    # Equal to the bit on one CPU; others may round otherwise (see train.py).
    for shipped, remade in zip(embed(program, images), again, strict=True):
        np.testing.assert_allclose(remade, shipped, atol=1e-4)
