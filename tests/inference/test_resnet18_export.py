"""models/resnet18: its two files are enough for a ResNet-18 with random weights."""

import functools
from pathlib import Path

import numpy as np
import pytest
import torch

from euclidesdb_server.inference.model_folder import read_model_folder
from tests.support.late_import import LateImport

command = LateImport("euclidesdb_server.commands.model_export")  # which imports transformers
SOURCE = Path(__file__).parents[2] / "models" / "resnet18"


@pytest.fixture(scope="module")
def random_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "resnet18"
    options = {"source": str(SOURCE), "folder": folder, "name": None, "seed": 7}
    how = {"program_format": "torchscript", "tower": None, "pooling": None}
    assert command.run(**options, **how) == 0
    return folder


@pytest.fixture(scope="module")
def embed(random_folder):
    """Predictions and features of the first images of `noise`, made once for each number."""
    program = torch.jit.load(read_model_folder(random_folder).program)
    images = noise(5)

    @functools.cache
    def run(number):
        with torch.inference_mode():
            predictions, features = program(images[:number])
        return predictions.numpy(), features.numpy()

    return run


def noise(number):
    """As a worker normalizes it."""
    images = torch.rand(number, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    return (images - 0.45) / 0.225


def test_a_random_resnet18_has_a_folder_that_can_be_served(random_folder):
    conf = read_model_folder(random_folder).conf
    assert (conf.name, conf.prediction_dim, conf.feature_dim) == ("resnet18", 1000, 512)
    assert (conf.image_mode, conf.image_size, conf.resize) == ("RGB", 224, 256)
    assert conf.label_names() == ()


def test_random_features_are_finite_and_tell_images_apart(embed):
    predictions, features = embed(5)
    assert predictions.shape == (5, 1000)
    assert features.shape == (5, 512)
    np.testing.assert_allclose(predictions.sum(axis=1), 1, atol=1e-4)
    assert np.isfinite(features).all()
    distances = np.linalg.norm(features[:, np.newaxis] - features, axis=2)
    assert distances[~np.eye(5, dtype=bool)].min() > 0.05 * np.linalg.norm(features, axis=1).max()


@pytest.mark.parametrize("number", [1, 2])
def test_an_image_embeds_alike_in_batches_of_any_size(embed, number):
    _, together = embed(5)
    _, fewer = embed(number)
    np.testing.assert_allclose(fewer, together[:number], atol=1e-4)
