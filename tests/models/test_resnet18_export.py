"""models/resnet18/export.py: the folders it makes can be served, and say what they were made of."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import ResNetConfig, ResNetForImageClassification

from euclidesdb_server.models.conf import read_model_folder

SCRIPT = Path(__file__).parents[2] / "models" / "resnet18" / "export.py"


@pytest.fixture(scope="module")
def export():
    spec = importlib.util.spec_from_file_location("resnet18_export", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def random_folder(export, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "resnet18"
    export.main([str(folder), "--random", "--seed", "7"])
    return folder


def small_checkpoint(folder, **settings):
    torch.manual_seed(0)
    config = ResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 8, 8, 16],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        **settings,
    )
    classifier = ResNetForImageClassification(config).eval()
    classifier.save_pretrained(folder)
    return classifier


def embed(folder, images):
    model = read_model_folder(folder)
    with torch.inference_mode():
        predictions, features = torch.jit.load(model.program)(images)
    return predictions.numpy(), features.numpy()


def noise(number, size=64):
    return torch.rand(number, 3, size, size, generator=torch.Generator().manual_seed(1))


def test_a_random_resnet18_has_a_folder_that_can_be_served(random_folder):
    conf = read_model_folder(random_folder).conf
    assert (conf.name, conf.prediction_dim, conf.feature_dim) == ("resnet18", 1000, 512)
    assert (conf.image_mode, conf.image_size, conf.resize) == ("RGB", 224, 256)
    assert conf.label_names() == ()


def test_random_features_are_finite_and_tell_images_apart(random_folder):
    predictions, features = embed(random_folder, noise(4))
    assert predictions.shape == (4, 1000)
    assert features.shape == (4, 512)
    np.testing.assert_allclose(predictions.sum(axis=1), 1, atol=1e-4)
    assert np.isfinite(features).all()
    distances = np.linalg.norm(features[:, np.newaxis] - features, axis=2)
    assert distances[~np.eye(4, dtype=bool)].min() > 0.05 * np.linalg.norm(features, axis=1).max()


@pytest.mark.parametrize("number", [1, 2, 5])
def test_an_image_embeds_alike_in_batches_of_any_size(random_folder, number):
    images = noise(5)
    _, together = embed(random_folder, images)
    _, fewer = embed(random_folder, images[:number])
    np.testing.assert_allclose(fewer, together[:number], atol=1e-4)


def test_the_same_seed_gives_the_same_features(export, random_folder, tmp_path):
    export.main([str(tmp_path / "again"), "--random", "--seed", "7"])
    images = noise(1)
    again = embed(tmp_path / "again", images)[1]
    np.testing.assert_allclose(again, embed(random_folder, images)[1], atol=1e-4)


def test_a_checkpoint_folder_keeps_its_weights_and_normalises_inside(export, tmp_path):
    classifier = small_checkpoint(tmp_path / "checkpoint", num_labels=3)
    folder = tmp_path / "small"
    export.main([str(folder), "--name", "small", "--checkpoint", str(tmp_path / "checkpoint")])
    images = noise(2)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    deviation = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    with torch.inference_mode():
        expected = torch.softmax(classifier((images - mean) / deviation).logits, dim=1)
    predictions, features = embed(folder, images)
    np.testing.assert_allclose(predictions, expected.numpy(), atol=1e-5)
    assert features.shape == (2, 16)
    assert read_model_folder(folder).conf.label_names() == ()


def test_labels_of_a_checkpoint_go_into_model_conf(export, tmp_path):
    labels = ["tench, Tinca tinca", "100% wool", "  two\nlines "]
    small_checkpoint(tmp_path / "checkpoint", id2label=dict(enumerate(labels)))
    export.main([str(tmp_path / "small"), "--checkpoint", str(tmp_path / "checkpoint")])
    conf = read_model_folder(tmp_path / "small").conf
    assert conf.label_names() == ("tench, Tinca tinca", "100% wool", "two lines")


def test_a_label_that_an_ini_file_cannot_hold_is_refused(export, tmp_path):
    small_checkpoint(tmp_path / "checkpoint", id2label={0: "cat", 1: "dog ; or wolf"})
    with pytest.raises(SystemExit, match="dog ; or wolf"):
        export.main([str(tmp_path / "small"), "--checkpoint", str(tmp_path / "checkpoint")])
    assert not (tmp_path / "small" / "model.conf").exists()


def test_a_checkpoint_that_is_not_there_ends_in_one_line(export, tmp_path):
    with pytest.raises(SystemExit) as caught:
        export.main([str(tmp_path / "out"), "--checkpoint", str(tmp_path / "nothing")])
    message = str(caught.value)
    assert message.startswith("export.py: cannot load checkpoint")
    assert "\n" not in message
    assert not (tmp_path / "out").exists()
