"""`torchvision:NAME` and `timm:NAME`, with stand-ins that keep to what both libraries document."""

import io
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from euclidesdb_server.export.vision import sample_images
from euclidesdb_server.inference.model_folder import read_model_folder
from tests.export import library_stands_in
from tests.export.exporting import answers, command, export


@pytest.fixture(scope="module", autouse=True)
def imported_transformers():
    """It looks for both libraries as it is imported, and finds no fault with a stand-in later."""
    assert command.run


@pytest.fixture
def install(monkeypatch):
    def put(modules):
        for name, module in modules.items():
            monkeypatch.setitem(sys.modules, name, module)

    return put


def expected(model, transform, images):
    pixels = torch.stack([transform(Image.open(io.BytesIO(image))) for image in images])
    model.eval()
    with torch.inference_mode():
        features = model.forward_head(model.forward_features(pixels), pre_logits=True)
        return torch.softmax(model(pixels), dim=1), features


def test_a_model_of_torchvision_brings_weights_labels_and_transforms(install, tmp_path):
    install(library_stands_in.torchvision())
    assert export("torchvision:network", tmp_path / "network") == 0
    conf = read_model_folder(tmp_path / "network").conf
    assert conf.label_names() == tuple(library_stands_in.CATEGORIES)
    assert (conf.image_size, conf.resize, conf.interpolation) == (24, 32, "bilinear")
    assert (conf.mean, conf.std) == (library_stands_in.MEAN, library_stands_in.STD)
    images = sample_images("RGB")
    transform = library_stands_in.WEIGHTS.transforms()
    wanted = expected(library_stands_in.trained(11), transform, images)
    for got, want in zip(answers(tmp_path / "network", images), wanted, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-4)


def test_a_model_of_timm_brings_weights_labels_and_transforms(install, tmp_path):
    modules = library_stands_in.timm()
    install(modules)
    assert export("timm:network.a1_in1k", tmp_path / "network", program_format="pt2") == 0
    conf = read_model_folder(tmp_path / "network").conf
    assert conf.label_names() == tuple(library_stands_in.CATEGORIES)
    assert (conf.image_size, conf.resize, conf.interpolation) == (24, 32, "bicubic")
    images = sample_images("RGB")
    data = modules["timm.data"]
    settings = data.resolve_data_config({}, model=None)
    transform = data.create_transform(**settings, is_training=False)
    wanted = expected(library_stands_in.trained(12), transform, images)
    for got, want in zip(answers(tmp_path / "network", images), wanted, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-4)


def test_a_model_of_timm_without_classes_gives_features_alone(install, tmp_path):
    install(library_stands_in.timm())
    assert export("timm:features", tmp_path / "features", seed=0) == 0
    conf = read_model_folder(tmp_path / "features").conf
    assert (conf.prediction_dim, conf.feature_dim) == (0, 8)


@pytest.mark.parametrize("source", ["torchvision:network", "timm:network.a1_in1k"])
def test_random_weights_follow_the_seed_and_tell_images_apart(source, install, tmp_path):
    install(library_stands_in.torchvision() | library_stands_in.timm())
    for folder, seed in (("seven", 7), ("again", 7), ("eight", 8)):
        assert export(source, tmp_path / folder, seed=seed) == 0
    images = sample_images("RGB")
    seven, again, eight = (
        answers(tmp_path / folder, images)[1] for folder in ("seven", "again", "eight")
    )
    np.testing.assert_array_equal(seven, again)
    assert np.abs(seven - eight).max() > 0.01
    assert read_model_folder(tmp_path / "seven").conf.label_names() == ()


def test_a_program_that_answers_otherwise_than_the_model_is_not_written(install, tmp_path, capsys):
    install(library_stands_in.timm())
    assert export("timm:loses", tmp_path / "loses", seed=0) == 1
    assert "the program's predictions of a batch of 1 differ by up to" in capsys.readouterr().err
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"input_size": (3, 24, 48)}, "48 x 24 pixels"),
        ({"crop_mode": "border"}, "crop_mode = 'border'"),
        ({"interpolation": "random"}, "its interpolation is 'random'"),
        ({"interpolation": "bilinear"}, "levels of 255 on average from those of the model's"),
    ],
)
def test_transforms_that_a_worker_cannot_do_are_refused(config, reason, install, tmp_path, capsys):
    install(library_stands_in.timm(**config))
    assert export("timm:network.a1_in1k", tmp_path / "network") == 1
    assert reason in capsys.readouterr().err


def test_an_unknown_model_is_refused(install, tmp_path, capsys):
    install(library_stands_in.torchvision())
    assert export("torchvision:nothing", tmp_path / "nothing") == 1
    assert "torchvision cannot load it: Unknown model nothing" in capsys.readouterr().err


@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_a_library_that_is_not_installed_is_named(library, monkeypatch, tmp_path, capsys):
    for name in (library, f"{library}.models", f"{library}.data"):
        monkeypatch.setitem(sys.modules, name, None)
    assert export(f"{library}:resnet18", tmp_path / "resnet18") == 1
    assert f"needs {library}: pip install {library}" in capsys.readouterr().err
