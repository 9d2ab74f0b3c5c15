"""What a model folder may say, and what names a model version."""

import pytest

from euclidesdb_server.errors import ModelLoadError
from euclidesdb_server.models.conf import read_model_folder

GOOD = {"name": "shoes", "filename": "program.pt", "prediction_dim": 3, "feature_dim": 12}


def write(folder, *, section="model", program=b"program", **keys):
    folder.mkdir(exist_ok=True)
    if program is not None:
        (folder / "program.pt").write_bytes(program)
    lines = [f"{key} = {value}" for key, value in (GOOD | keys).items() if value is not None]
    (folder / "model.conf").write_text("\n".join([f"[{section}]", *lines]))
    return folder


def refusal(folder):
    with pytest.raises(ModelLoadError) as caught:
        read_model_folder(folder)
    return str(caught.value)


def test_euclidesdbs_four_keys_are_enough(tmp_path):
    model = read_model_folder(write(tmp_path))
    assert model.program == tmp_path / "program.pt"
    assert (model.conf.name, model.conf.feature_dim, model.conf.prediction_dim) == ("shoes", 12, 3)
    assert (model.conf.image_mode, model.conf.image_size, model.conf.max_batch_size) == (
        "RGB",
        0,
        32,
    )


def test_a_folder_without_a_model_conf_is_named(tmp_path):
    assert refusal(tmp_path) == f"{tmp_path} has no model.conf"


def test_a_file_that_is_no_ini_file_is_named(tmp_path):
    (tmp_path / "model.conf").write_text("just words")
    assert f"{tmp_path / 'model.conf'} is not an INI file" in refusal(tmp_path)


@pytest.mark.parametrize("key", ["name", "filename", "feature_dim"])
def test_a_missing_key_is_named(tmp_path, key):
    message = refusal(write(tmp_path, **{key: None}))
    assert f"{tmp_path / 'model.conf'}: [model] {key}: " in message


def test_an_unknown_key_is_named_beside_the_known_ones(tmp_path):
    message = refusal(write(tmp_path, featuredim=12))
    assert "[model] has no key 'featuredim'; its keys are name, filename" in message


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("feature_dim", "many"),
        ("feature_dim", "0"),
        ("prediction_dim", "-1"),
        ("image_mode", "BGR"),
        ("max_batch_size", "0"),
        ("inference_timeout", "0"),
        ("max_queue", "0"),
    ],
)
def test_a_malformed_value_is_quoted(tmp_path, key, value):
    assert f"[model] {key} = {value!r}: " in refusal(write(tmp_path, **{key: value}))


def test_an_unknown_kind_of_input_is_told_the_known_ones(tmp_path):
    message = refusal(write(tmp_path, input="sound"))
    assert message.endswith("model.conf: [model] input = 'sound': should be image or text or tensor or vector")


def test_the_section_is_model(tmp_path):
    message = refusal(write(tmp_path, section="modell"))
    assert message.endswith("has no section [model]: it has ['modell']")


def test_a_missing_program_is_named(tmp_path):
    message = refusal(write(tmp_path, program=None))
    assert f"[model] filename: cannot read {tmp_path / 'program.pt'}" in message


@pytest.mark.parametrize("name", ["", "ü" * 128])
def test_a_name_has_1_to_255_bytes(tmp_path, name):
    assert "should have 1 to 255 bytes" in refusal(write(tmp_path, name=name))


def test_labels_are_one_a_line(tmp_path):
    folder = write(tmp_path, labels="\n  cat\n  big dog\n  bird")
    assert read_model_folder(folder).conf.label_names() == ("cat", "big dog", "bird")


def test_there_is_a_label_for_each_prediction(tmp_path):
    message = refusal(write(tmp_path, labels="\n  cat\n  dog"))
    assert message.endswith("[model] labels: 2 names for 3 predictions")


def test_a_square_larger_than_the_resized_picture_is_refused(tmp_path):
    message = refusal(write(tmp_path, image_size=256, resize=224))
    assert "image_size = 256 cannot be cut from resize = 224" in message


def fingerprint(folder, **keys):
    return read_model_folder(write(folder, **keys)).fingerprint


def test_the_fingerprint_is_the_same_wherever_the_folder_lies(tmp_path):
    (first, second) = (fingerprint(tmp_path / name) for name in ("one", "two"))
    assert first == second
    assert len(first) == 32


def test_another_program_is_another_version(tmp_path):
    assert fingerprint(tmp_path) != fingerprint(tmp_path, program=b"programme")


@pytest.mark.parametrize(
    "change", [{"image_mode": "L"}, {"image_size": 96}, {"resize": 256}], ids=str
)
def test_another_preprocessing_is_another_version(tmp_path, change):
    before = {"image_mode": "RGB", "image_size": 224, "resize": 224}
    assert fingerprint(tmp_path, **before | change) != fingerprint(tmp_path, **before)


@pytest.mark.parametrize(
    "keys",
    [
        {"name": "boots"},
        {"labels": "\n a\n b\n c"},
        {"max_batch_size": 1},
        {"max_wait_ms": 50},
        {"max_queue": 7},
        {"inference_timeout": 5},
        {"search_engine": "annoy"},
    ],
    ids=str,
)
def test_what_does_not_change_the_vectors_keeps_the_version(tmp_path, keys):
    assert fingerprint(tmp_path, **keys) == fingerprint(tmp_path)
