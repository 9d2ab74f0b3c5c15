"""Pixels are normalized, stretched and resampled as model.conf defines."""

import numpy as np
import pytest
import torch
from PIL import Image

from tests.support.images import encoded, noise
from tests.worker.image_files import image_input, pixels
from tests.worker.odd_programs import Means, load

CPU = torch.device("cpu")
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
RESAMPLINGS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def batch(*images, **conf):
    inputs = image_input(**conf)
    (argument,) = inputs.collate([inputs.decode(encoded(image)) for image in images], CPU)
    return argument


def unit_pixels(image):
    values = torch.tensor(np.asarray(image))
    return (values if values.dim() == 3 else values.unsqueeze(2)).permute(2, 0, 1).float() / 255


@pytest.mark.parametrize("keys", [("mean", "std"), ("mean",), ("std",)], ids=" and ".join)
def test_each_channel_is_less_its_mean_and_divided_by_its_std(keys):
    images = [noise(1), noise(2)]
    given = {key: IMAGENET[key] for key in keys}
    mean, std = (torch.tensor(given.get(key, [plain] * 3)).view(3, 1, 1)
                 for key, plain in (("mean", 0.0), ("std", 1.0)))  # fmt: skip
    got = batch(*images, **given)
    expected = torch.stack([(unit_pixels(image) - mean) / std for image in images])
    assert (got.shape, got.dtype) == (expected.shape, torch.float32)
    torch.testing.assert_close(got, expected, atol=1e-6, rtol=1e-6)


def test_one_channel_has_one_mean():
    image = noise(3, mode="L")
    got = batch(image, image_mode="L", mean=(0.5,), std=(0.25,))
    torch.testing.assert_close(got, (unit_pixels(image) - 0.5).unsqueeze(0) / 0.25)


def test_a_mean_of_0_and_a_std_of_1_change_nothing():
    got = batch(noise(1), mean=(0.0,) * 3, std=(1.0,) * 3)
    torch.testing.assert_close(got, batch(noise(1)), atol=1e-7, rtol=0)


def test_a_loaded_program_gets_normalized_pixels(tmp_path):
    program = load(tmp_path, Means(), mean="0.1, 0.2, 0.4", std="0.5, 1, 2")
    gray = torch.full((3, 9, 9), 51, dtype=torch.uint8)
    (features,) = program.run([gray]).features
    assert features.tolist() == pytest.approx([0.2, 0.0, -0.1], abs=1e-6)


@pytest.mark.parametrize("interpolation", RESAMPLINGS)
@pytest.mark.parametrize("size", [8, 40], ids=["smaller", "larger"])
def test_each_interpolation_is_that_of_pillow(interpolation, size):
    image = noise(4, size=16)
    expected = image.resize((size, size), RESAMPLINGS[interpolation])
    got = pixels(encoded(image), image_size=size, interpolation=interpolation)
    np.testing.assert_array_equal(got, expected)


def test_the_interpolations_differ():
    made = {
        pixels(encoded(noise(4)), image_size=40, interpolation=name).tobytes()
        for name in RESAMPLINGS
    }
    assert len(made) == len(RESAMPLINGS)


@pytest.mark.parametrize("interpolation", RESAMPLINGS)
def test_resize_mode_exact_stretches_the_image(interpolation):
    image = noise(5, size=24).crop((0, 0, 24, 10))
    expected = image.resize((12, 12), RESAMPLINGS[interpolation])
    got = pixels(encoded(image), image_size=12, resize_mode="exact", interpolation=interpolation)
    np.testing.assert_array_equal(got, expected)


def test_resize_mode_exact_takes_a_thread_of_an_image():
    got = pixels(encoded(Image.new("RGB", (1, 5000), "lime")), image_size=8, resize_mode="exact")
    assert got.shape == (8, 8, 3)
    assert (got == [0, 255, 0]).all()


def test_resize_mode_exact_stretches_the_image_as_its_exif_turns_it():
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.new("RGB", (32, 16), "red")
    image.paste("lime", (16, 0, 32, 16))
    got = pixels(encoded(image, exif=exif), image_size=8, resize_mode="exact")
    assert (got[:3] == [255, 0, 0]).all()
    assert (got[5:] == [0, 255, 0]).all()
