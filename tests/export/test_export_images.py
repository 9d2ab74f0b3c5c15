"""Exported image models answer as transformers does, from the file to the features."""

import functools
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from euclidesdb_server.export.vision import sample_images
from euclidesdb_server.inference.model_folder import read_model_folder
from tests.export import checkpoints
from tests.export.exporting import answers, export
from tests.support.late_import import LateImport

transformers = LateImport("transformers")
ENCODERS = {
    "vit": (checkpoints.vit, lambda model, pixels: model(pixels).pooler_output),
    "dinov2": (checkpoints.dinov2, lambda model, pixels: model(pixels).last_hidden_state[:, 0]),
    "clip": (checkpoints.clip, lambda model, pixels: unit(projected(model, pixels))),
    "clip-tower": (
        checkpoints.clip_image_tower,
        lambda model, pixels: unit(model(pixels).image_embeds),
    ),
    "siglip": (checkpoints.siglip, lambda model, pixels: unit(pooled(model, pixels))),
}
CLASSIFIERS = {
    "vit": (checkpoints.vit_classifier, lambda model, pixels: cls(model.vit, pixels)),
    "dinov2": (checkpoints.dinov2_classifier, lambda model, pixels: cls(model.dinov2, pixels)),
    "resnet": (
        checkpoints.resnet_classifier,
        lambda model, pixels: model.resnet(pixels).last_hidden_state.mean(dim=(2, 3)),
    ),
}


def formats(names, *, pt2):
    """Each name with both formats. Exports as pt2 take seconds: all but that of `pt2` are long."""
    return [
        pytest.param(
            name,
            program_format,
            marks=pytest.mark.long if program_format == "pt2" and name != pt2 else (),
        )
        for name in names
        for program_format in ("torchscript", "pt2")
    ]


def projected(model, pixels):
    return pooled(model, pixels) @ model.visual_projection.weight.T


def pooled(model, pixels):
    return model.vision_model(pixels).pooler_output


def unit(features):
    return features / features.norm(dim=1, keepdim=True)


def cls(encoder, pixels):
    return encoder(pixels).last_hidden_state[:, 0]


def processed(checkpoint, images):
    images = [Image.open(io.BytesIO(image)) for image in images]
    processor = transformers.AutoImageProcessor.from_pretrained(checkpoint)
    return processor(images=images, return_tensors="pt")["pixel_values"]


@dataclass(frozen=True)
class Exported:
    """A model with its checkpoint, and the folder that was made of it."""

    model: Any
    checkpoint: Path
    folder: Path


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Exports each checkpoint once in each format."""

    @functools.cache
    def make(make_checkpoint, program_format="torchscript"):
        place = tmp_path_factory.mktemp("exported")
        model = make_checkpoint(place / "checkpoint")
        made = Exported(model, place / "checkpoint", place / "exported")
        tower = "image" if make_checkpoint is checkpoints.clip else None
        assert export(made.checkpoint, made.folder, program_format=program_format, tower=tower) == 0
        return made

    return make


@pytest.mark.parametrize(("name", "program_format"), formats(ENCODERS, pt2="vit"))
def test_an_exported_encoder_gives_the_features_of_the_checkpoint(name, program_format, exported):
    make, features_of = ENCODERS[name]
    made = exported(make, program_format)
    images = sample_images("RGB")
    with torch.inference_mode():
        expected = features_of(made.model, processed(made.checkpoint, images))
    predictions, features = answers(made.folder, images)
    assert predictions.shape == (5, 0)
    np.testing.assert_allclose(features, expected, atol=1e-4)


@pytest.mark.parametrize(("name", "program_format"), formats(CLASSIFIERS, pt2=""))
def test_an_exported_classifier_predicts_as_the_checkpoint(name, program_format, exported):
    make, features_of = CLASSIFIERS[name]
    made = exported(make, program_format)
    images = sample_images("RGB")
    pixels = processed(made.checkpoint, images)
    with torch.inference_mode():
        expected = torch.softmax(made.model(pixels).logits, dim=1), features_of(made.model, pixels)
    predictions, features = answers(made.folder, images)
    np.testing.assert_allclose(predictions, expected[0], atol=1e-4)
    np.testing.assert_allclose(features, expected[1], atol=1e-4)


def test_a_classifier_of_several_labels_at_once_gives_each_its_own_probability(tmp_path):
    settings = {"problem_type": "multi_label_classification"}
    model = checkpoints.vit_classifier(tmp_path / "checkpoint", **settings)
    assert export(tmp_path / "checkpoint", tmp_path / "exported") == 0
    images = sample_images("RGB")
    with torch.inference_mode():
        logits = model(processed(tmp_path / "checkpoint", images)).logits
    predictions, _ = answers(tmp_path / "exported", images)
    np.testing.assert_allclose(predictions, torch.sigmoid(logits), atol=1e-4)


@pytest.mark.parametrize(
    ("make", "resize_mode", "resize", "interpolation", "mean"),
    [
        (checkpoints.vit, "exact", 0, "bilinear", (0.5, 0.5, 0.5)),
        (checkpoints.siglip, "exact", 0, "bicubic", (0.5, 0.5, 0.5)),
        (checkpoints.dinov2, "shortest_edge", 40, "bicubic", (0.48, 0.46, 0.41)),
        (checkpoints.resnet_classifier, "shortest_edge", 36, "bicubic", (0.485, 0.456, 0.406)),
    ],
    ids=["vit", "siglip", "dinov2", "resnet"],
)
def test_model_conf_has_the_preprocessing_of_the_checkpoint(
    make, resize_mode, resize, interpolation, mean, exported
):
    conf = read_model_folder(exported(make).folder).conf
    assert (conf.input, conf.image_mode, conf.image_size) == ("image", "RGB", 32)
    assert (conf.resize_mode, conf.resize) == (resize_mode, resize)
    assert (conf.interpolation, conf.mean) == (interpolation, mean)


def test_a_vit_whose_pooler_was_never_trained_gives_its_cls_token(tmp_path):
    model = checkpoints.vit_classifier(tmp_path / "checkpoint")
    model.vit.save_pretrained(tmp_path / "encoder")
    (tmp_path / "checkpoint" / "preprocessor_config.json").rename(
        tmp_path / "encoder" / "preprocessor_config.json"
    )
    assert export(tmp_path / "encoder", tmp_path / "exported") == 0
    images = sample_images("RGB")
    with torch.inference_mode():
        expected = cls(model.vit, processed(tmp_path / "encoder", images))
    np.testing.assert_allclose(answers(tmp_path / "exported", images)[1], expected, atol=1e-4)


def test_labels_of_a_checkpoint_go_into_model_conf(tmp_path):
    labels = ["tench, Tinca tinca", "100% wool", "  two\nlines "]
    checkpoints.resnet_classifier(tmp_path / "checkpoint", id2label=dict(enumerate(labels)))
    assert export(tmp_path / "checkpoint", tmp_path / "exported", name="fishes") == 0
    conf = read_model_folder(tmp_path / "exported").conf
    assert conf.name == "fishes"
    assert conf.label_names() == ("tench, Tinca tinca", "100% wool", "two lines")


def test_labels_that_transformers_made_up_are_left_out(exported):
    folder = exported(checkpoints.resnet_classifier).folder
    assert read_model_folder(folder).conf.label_names() == ()


def test_random_weights_need_only_a_config_and_follow_the_seed(tmp_path):
    checkpoints.resnet_classifier(tmp_path / "checkpoint", id2label={0: "cat", 1: "dog"})
    (tmp_path / "checkpoint" / "model.safetensors").unlink()
    for folder, seed in (("seven", 7), ("again", 7), ("eight", 8)):
        assert export(tmp_path / "checkpoint", tmp_path / folder, seed=seed) == 0
    images = sample_images("RGB")
    seven, again, eight = (
        answers(tmp_path / folder, images)[1] for folder in ("seven", "again", "eight")
    )
    np.testing.assert_array_equal(seven, again)
    assert np.abs(seven - eight).max() > 0.1
    # a random model has no class names of any use
    assert read_model_folder(tmp_path / "seven").conf.label_names() == ()
