"""Odd but sound images, texts and models, as a client meets them: one of each kind."""

import io
import zlib

import numpy as np
import pytest
from PIL import Image

import euclidesdb
from euclidesdb_server.__main__ import main
from tests.support.images import encoded
from tests.support.models import save_model
from tests.support.servers import start_server
from tests.worker.image_files import QUARTERS, chunk, png, tiff
from tests.worker.odd_programs import Constant
from tests.worker.test_text_input import MaskedMean, word_tokenizer

GRAYS = [200, 50, 120, 10]
FLOATS = (QUARTERS / 255).astype(np.float32)
PHOTO = Image.fromarray(np.kron(QUARTERS, np.ones((8, 8), np.uint8))).convert("RGB")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    models = tmp_path_factory.mktemp("models")
    save_model(models, "tiny", worker="shared")
    save_model(models, "tolerant", worker="shared", allow_truncated="true")
    save_model(
        models, "constant", module=Constant(), worker="shared", feature_dim=3, prediction_dim=0
    )
    for name, allow_blank in (("words", "false"), ("any text", "true")):
        folder = save_model(
            models, name, module=MaskedMean(), worker="shared", input="text", max_tokens=8,
            allow_blank=allow_blank, feature_dim=6, prediction_dim=0,
        )  # fmt: skip
        word_tokenizer().save(str(folder / "tokenizer.json"))
    with start_server(tmp_path_factory.mktemp("data"), models, strict=True) as server:
        yield server


@pytest.fixture(scope="module")
def db(server):
    with euclidesdb.Client(server.address) as client:
        yield client


def grays(db, image, model="tiny"):
    """The gray of each quarter, as the model averages it."""
    (embedding,) = db.add("item", image=image, models=[model], include_vectors=True)
    return np.rint(embedding.vector[:4] * 255).tolist()


ODD = {
    "a TIFF of floats": tiff(FLOATS),
    "a TIFF of int32": tiff(QUARTERS.astype(np.int32)),
    "a TIFF whose smallest sample is white": tiff(~(QUARTERS * np.uint16(257)), photometric=0),
    "a Pillow image of floats": Image.fromarray(FLOATS),
    "a Pillow image of int32": Image.fromarray(QUARTERS.astype(np.int32)),
    "a PNG with a long text": png(
        samples=QUARTERS, before=chunk(b"zTXt", b"text\0\0" + zlib.compress(bytes(2 << 20)))
    ),
    "a PNG with a wrong checksum": png(samples=QUARTERS, before=chunk(b"abCD", b"", damaged=True)),
    "an AVIF": encoded(PHOTO, "AVIF"),
    "a JPEG 2000": encoded(PHOTO, "JPEG2000"),
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_image_reaches_the_model_with_its_colors(db, name):
    np.testing.assert_allclose(grays(db, ODD[name]), GRAYS, atol=4)


def test_an_image_of_unknown_range_is_refused_and_not_embedded(db):
    with pytest.raises(euclidesdb.UndecodableInput, match=r"from 39.2157 to 784.314, is not known"):
        db.add("item", image=tiff(FLOATS * 1000), models=["tiny"])


def test_a_truncated_file_is_embedded_only_by_a_model_that_allows_it(db):
    stream = io.BytesIO()
    PHOTO.save(stream, "BMP")
    data = stream.getvalue()[:-64]
    with pytest.raises(euclidesdb.UndecodableInput, match=r"BMP image cannot be .* truncated"):
        grays(db, data)
    np.testing.assert_allclose(grays(db, data, "tolerant"), GRAYS, atol=6)


def features(db, text, model="words"):
    (embedding,) = db.add("item", text=text, models=[model], include_vectors=True)
    return embedding.vector


def test_a_text_behind_many_blanks_is_that_text(db):
    np.testing.assert_array_equal(features(db, " " * 64 * 8 * 20 + "one"), features(db, "one"))


@pytest.mark.parametrize("text", ["", " \n"])
def test_a_blank_text_is_embedded_only_by_a_model_that_allows_it(db, text):
    with pytest.raises(euclidesdb.UndecodableInput, match="is empty or blank"):
        features(db, text)
    with pytest.raises(euclidesdb.UndecodableInput, match="is empty or blank"):
        db.find_similar(text=text, model="words")
    assert len(features(db, text, "any text")) == 6


def test_a_model_whose_features_are_the_same_for_all_is_served_with_a_warning(db, server, capsys):
    (model,) = [model for model in db.models() if model.name == "constant"]
    assert model.state == "ready"
    assert model.reason.startswith("warning: its features are the same for two different inputs")
    assert main(["models", "--address", server.address]) == 0
    assert model.reason in capsys.readouterr().out
    assert [model.reason for model in db.models() if model.name == "tiny"] == [""]
