"""What a model folder may say, and what names a model version."""

import hashlib
from pathlib import Path

import pytest

from euclidesdb_server.errors import ModelLoadError
from euclidesdb_server.inference.model_folder import read_model_folder
from tests.support.cases import each_as_subtest
from tests.support.errors import error_message

DIGITS = Path(__file__).parents[2] / "models" / "digits"
GOOD = {"name": "shoes", "filename": "program.pt", "prediction_dim": 3, "feature_dim": 12}


def write(folder, *, section="model", program=b"program", **keys):
    folder.mkdir(exist_ok=True)
    if program is not None:
        (folder / "program.pt").write_bytes(program)
    lines = [f"{key} = {value}" for key, value in (GOOD | keys).items() if value is not None]
    (folder / "model.conf").write_text("\n".join([f"[{section}]", *lines]))
    return folder


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
    assert (
        error_message(ModelLoadError, read_model_folder, tmp_path)
        == f"{tmp_path} has no model.conf"
    )


def test_a_malformed_ini_file_is_named(tmp_path):
    (tmp_path / "model.conf").write_text("just words")
    assert f"{tmp_path / 'model.conf'} is not an INI file" in error_message(
        ModelLoadError, read_model_folder, tmp_path
    )


@pytest.mark.parametrize("key", ["name", "filename", "feature_dim"])
def test_a_missing_key_is_named(tmp_path, key):
    message = error_message(ModelLoadError, read_model_folder, write(tmp_path, **{key: None}))
    assert f"{tmp_path / 'model.conf'}: [model] {key}: " in message


def test_an_unknown_key_is_named_with_the_known_ones(tmp_path):
    message = error_message(ModelLoadError, read_model_folder, write(tmp_path, featuredim=12))
    assert "[model] has no key 'featuredim'; its keys are name, filename" in message


@each_as_subtest(
    ("key", "value"),
    [
        ("feature_dim", "many"),
        ("feature_dim", "0"),
        ("prediction_dim", "-1"),
        ("image_mode", "BGR"),
        ("max_batch_size", "0"),
        ("inference_timeout", "0"),
        ("max_queue", "0"),
        ("workers", "0"),
        ("threads", "-1"),
        ("precision", "int8"),
        ("memory_limit_mib", "-1"),
        ("interpolation", "cubic"),
        ("resize_mode", "longest_edge"),
        ("mean", "a, b, c"),
    ],
)
def test_a_malformed_value_is_quoted(tmp_path, key, value):
    assert f"[model] {key} = {value!r}: " in error_message(
        ModelLoadError, read_model_folder, write(tmp_path, **{key: value})
    )


def test_an_unknown_kind_of_input_is_named_with_the_known_ones(tmp_path):
    message = error_message(ModelLoadError, read_model_folder, write(tmp_path, input="sound"))
    assert message.endswith(
        "model.conf: [model] input = 'sound': should be image or text or tensor or vector"
    )


def test_the_section_is_model(tmp_path):
    message = error_message(ModelLoadError, read_model_folder, write(tmp_path, section="modell"))
    assert message.endswith("has no section [model]; its sections are: modell")


def test_a_missing_program_is_named(tmp_path):
    message = error_message(ModelLoadError, read_model_folder, write(tmp_path, program=None))
    assert f"[model] filename: cannot read {tmp_path / 'program.pt'}" in message


@pytest.mark.parametrize("name", ["", "ü" * 128])
def test_a_name_has_1_to_255_bytes(tmp_path, name):
    assert "should have 1 to 255 bytes" in error_message(
        ModelLoadError, read_model_folder, write(tmp_path, name=name)
    )


def test_a_name_has_no_at_sign(tmp_path):
    folder = write(tmp_path, name="shoes@v2")
    message = error_message(ModelLoadError, read_model_folder, folder)
    assert message.endswith("[model] name = 'shoes@v2' must not contain @")


def test_labels_are_one_a_line(tmp_path):
    folder = write(tmp_path, labels="\n  cat\n  big dog\n  bird")
    assert read_model_folder(folder).conf.label_names() == ("cat", "big dog", "bird")


def test_there_is_a_label_for_each_prediction(tmp_path):
    message = error_message(
        ModelLoadError, read_model_folder, write(tmp_path, labels="\n  cat\n  dog")
    )
    assert message.endswith("[model] labels: 2 names for 3 predictions")


def test_a_square_larger_than_the_resized_image_is_refused(tmp_path):
    message = error_message(
        ModelLoadError, read_model_folder, write(tmp_path, image_size=256, resize=224)
    )
    assert "image_size = 256 cannot be cut from resize = 224" in message


@each_as_subtest(
    ("keys", "expected"),
    [
        (
            {"mean": "0.5, 0.5"},
            "mean: 2 values for the 3 channels of image_mode = RGB",
        ),
        (
            {"std": "1, 1, 1", "image_mode": "L"},
            "std: 3 values for the 1 channels of image_mode = L",
        ),
        ({"mean": "0, nan, 0"}, "mean = (0.0, nan, 0.0): should be finite"),
        ({"std": "1, 0, 1"}, "std: a channel cannot be divided by 0"),
        ({"resize_mode": "exact"}, "resize_mode = exact needs image_size, and no resize"),
        (
            {"resize_mode": "exact", "image_size": 8, "resize": 9},
            "resize_mode = exact needs image_size, and no resize",
        ),
        (
            {"input": "tensor", "input_shape": "2, 0"},
            "input_shape: '0' should be a length of at least 1, or *",
        ),
        (
            {"input": "tensor", "input_shape": "2,, 3"},
            "input_shape: '' should be a length of at least 1, or *",
        ),
        ({"devices": "gpu"}, "devices: 'gpu' should be cpu or cuda:0, cuda:1, ..."),
        ({"devices": "cpu, cuda"}, "devices: 'cuda' should be cpu or cuda:0, cuda:1, ..."),
        ({"devices": "cuda:-1"}, "devices: 'cuda:-1' should be cpu or cuda:0, cuda:1, ..."),
        ({"devices": ""}, "devices: '' should be cpu or cuda:0, cuda:1, ..."),
    ],
    ids=str,
)
def test_keys_that_contradict_one_another_are_refused(tmp_path, keys, expected):
    message = error_message(ModelLoadError, read_model_folder, write(tmp_path, **keys))
    assert message == f"{tmp_path / 'model.conf'}: [model] {expected}"


@pytest.mark.parametrize(
    ("takes", "key"),
    [
        ("text", "image_size"),
        ("image", "tokenizer"),
        ("tensor", "mean"),
        ("image", "input_shape"),
        ("image", "version"),
        ("vector", "filename"),
    ],
)
def test_a_key_of_another_kind_of_input_is_refused(tmp_path, takes, key):
    message = error_message(
        ModelLoadError,
        read_model_folder,
        write(tmp_path, **{"filename": None, "input": takes, key: "1"}),
    )
    assert message.endswith(f"[model] {key} does not apply to input = {takes}")


def test_a_tensor_has_a_shape(tmp_path):
    assert "[model] input_shape: " in error_message(
        ModelLoadError, read_model_folder, write(tmp_path, input="tensor")
    )


def test_each_device_has_its_workers(tmp_path):
    model = read_model_folder(write(tmp_path, devices="cuda:0, cuda:1", workers=2))
    assert model.conf.seats == ["cuda:0", "cuda:0", "cuda:1", "cuda:1"]


def test_one_worker_on_the_processor_is_the_default(tmp_path):
    assert read_model_folder(write(tmp_path)).conf.seats == ["cpu"]


def fingerprint(folder, **keys):
    return read_model_folder(write(folder, **keys)).fingerprint


def test_the_fingerprint_is_the_same_wherever_the_folder_lies(tmp_path):
    (first, second) = (fingerprint(tmp_path / name) for name in ("one", "two"))
    assert first == second
    assert len(first) == 32


def test_another_program_is_another_version(tmp_path):
    assert fingerprint(tmp_path) != fingerprint(tmp_path, program=b"another program")


@pytest.mark.parametrize(
    "change", [{"image_mode": "L"}, {"image_size": 96}, {"resize": 256}], ids=str
)
def test_another_preprocessing_is_another_version(tmp_path, change):
    before = {"image_mode": "RGB", "image_size": 224, "resize": 224}
    assert fingerprint(tmp_path, **before | change) != fingerprint(tmp_path, **before)


@each_as_subtest(
    "keys",
    [
        {"name": "boots"},
        {"labels": "\n a\n b\n c"},
        {"max_batch_size": 1},
        {"max_wait_ms": 50},
        {"max_queue": 7},
        {"inference_timeout": 5},
        {"search_engine": "annoy"},
        {"devices": "cuda:0, cuda:1"},
        {"workers": 3},
        {"threads": 2},
        {"memory_limit_mib": 4096},
        {"precision": "float32"},
        {"interpolation": "bilinear"},
        {"resize_mode": "shortest_edge"},
        {"mean": "", "std": ""},
        {"input": "image"},
    ],
    ids=str,
)
def test_what_does_not_change_the_vectors_keeps_the_version(tmp_path, keys):
    assert fingerprint(tmp_path, **keys) == fingerprint(tmp_path)


NORMALIZED = {"mean": "0.5, 0.5, 0.5", "std": "0.2, 0.2, 0.2"}


@pytest.mark.parametrize(
    "change",
    [
        {"resize_mode": "exact"},
        {"interpolation": "bicubic"},
        {"mean": "0.5, 0.5, 0.4"},
        {"mean": ""},
        {"std": "0.2, 0.3, 0.2"},
        {"std": ""},
        {"precision": "bfloat16"},
        {"precision": "float16"},
    ],
    ids=str,
)
def test_later_keys_of_images_are_part_of_the_version(tmp_path, change):
    before = {"image_size": 32, **NORMALIZED}
    assert fingerprint(tmp_path, **before | change) != fingerprint(tmp_path, **before)


def test_the_shipped_digits_are_the_version_that_vectors_are_stored_under():
    # of 0.1.0: another fingerprint would leave everybody's vectors behind
    assert read_model_folder(DIGITS).fingerprint == "376772d60e3af109a9e5981f067784e5"


def test_a_fingerprint_that_model_conf_names_is_that_of_the_version(tmp_path):
    named = "0123456789abcdef0123456789abcdef"
    assert fingerprint(tmp_path, fingerprint=named) == named
    assert fingerprint(tmp_path, fingerprint=named, program=b"its twin") == named


def tokenizer_file(folder, content=b"{}"):
    folder.mkdir(exist_ok=True)
    (folder / "tokenizer.json").write_bytes(content)


def test_the_tokenizer_is_part_of_the_version(tmp_path):
    tokenizer_file(tmp_path)
    before = fingerprint(tmp_path, input="text")
    tokenizer_file(tmp_path, b'{"added_tokens": []}')
    assert fingerprint(tmp_path, input="text") != before


def test_the_name_of_the_tokenizer_file_is_not_part_of_the_version(tmp_path):
    tokenizer_file(tmp_path)
    before = fingerprint(tmp_path, input="text")
    (tmp_path / "tokenizer.json").rename(tmp_path / "words.json")
    assert fingerprint(tmp_path, input="text", tokenizer="words.json") == before


def test_max_tokens_is_part_of_the_version(tmp_path):
    tokenizer_file(tmp_path)
    cuts = {fingerprint(tmp_path, input="text", max_tokens=number) for number in (64, 128)}
    assert len(cuts) == 2


def test_a_missing_tokenizer_is_named(tmp_path):
    message = error_message(ModelLoadError, read_model_folder, write(tmp_path, input="text"))
    assert f"[model] tokenizer: cannot read {tmp_path / 'tokenizer.json'}" in message


def test_the_dtype_of_tensors_is_part_of_the_version_and_their_shape_is_not(tmp_path):
    tensors = {"input": "tensor", "input_shape": "2, *"}
    before = fingerprint(tmp_path, **tensors)
    assert fingerprint(tmp_path, **tensors | {"input_dtype": "int16"}) != before
    assert fingerprint(tmp_path, **tensors | {"input_shape": "2, 16"}) == before


def test_the_fingerprint_of_a_program_for_images_never_changes(tmp_path):
    preprocessing = b'{"image_mode": "RGB", "image_size": 224, "input": "image", "resize": 256}'
    digest = hashlib.sha256(preprocessing + hashlib.sha256(b"program").digest()).hexdigest()
    assert fingerprint(tmp_path, image_size=224, resize=256) == digest[:32]
