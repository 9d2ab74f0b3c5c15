"""What cannot be exported ends in one clear line, and leaves nothing behind."""

import json

import pytest
import torch

from tests.export import checkpoints
from tests.export.exporting import export
from tests.support.late_import import LateImport

transformers = LateImport("transformers")


@pytest.fixture
def refused(tmp_path, capsys):
    """Exports `checkpoint`, which must fail; returns the message."""

    def attempt(**options):
        capsys.readouterr()  # the progress bar of saving the checkpoint
        here = sorted(tmp_path.iterdir())
        assert export(tmp_path / "checkpoint", tmp_path / "exported", **options) == 1
        assert sorted(tmp_path.iterdir()) == here
        output, message = capsys.readouterr()
        assert output == ""
        assert message.startswith("euclidesdb: cannot export ")
        assert message.count("\n") == 1
        return message

    return attempt


def rewrite(file, **settings):
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))


def test_a_checkpoint_that_is_not_there(refused):
    assert "cannot load its config.json" in refused()


def test_a_folder_that_is_in_use(tmp_path, capsys):
    checkpoints.vit(tmp_path / "checkpoint")
    (tmp_path / "exported").mkdir()
    (tmp_path / "exported" / "model.conf").write_text("mine")
    assert export(tmp_path / "checkpoint", tmp_path / "exported") == 1
    assert "already exists and is not an empty folder" in capsys.readouterr().err
    assert (tmp_path / "exported" / "model.conf").read_text() == "mine"


def test_an_empty_folder_is_taken(tmp_path):
    checkpoints.vit(tmp_path / "checkpoint")
    (tmp_path / "exported").mkdir()
    assert export(tmp_path / "checkpoint", tmp_path / "exported") == 0
    assert sorted(file.name for file in (tmp_path / "exported").iterdir()) == [
        "model.conf",
        "program.pt",
    ]


def test_a_label_that_an_ini_file_cannot_hold(tmp_path, refused):
    checkpoints.vit_classifier(tmp_path / "checkpoint", id2label={0: "cat", 1: "dog ; or wolf"})
    assert "cannot hold the label 'dog ; or wolf': got 'dog'" in refused()


def test_a_label_that_an_ini_file_takes_for_a_comment(tmp_path, refused):
    checkpoints.vit_classifier(tmp_path / "checkpoint", id2label={0: "cat", 1: "#dog"})
    assert "labels: 1 names for 2 predictions" in refused()


def test_a_name_that_an_ini_file_cannot_hold(tmp_path, refused):
    checkpoints.vit(tmp_path / "checkpoint")
    assert "cannot hold the name 'a ;b': got 'a'" in refused(name="a ;b")


def test_weights_that_are_not_all_there(tmp_path, refused):
    checkpoints.vit(tmp_path / "checkpoint")
    rewrite(tmp_path / "checkpoint" / "config.json", num_hidden_layers=3)
    assert "some of its weights are missing: " in refused()


def test_a_checkpoint_without_preprocessing(tmp_path, refused):
    checkpoints.vit(tmp_path / "checkpoint")
    (tmp_path / "checkpoint" / "preprocessor_config.json").unlink()
    assert "cannot load its preprocessor_config.json" in refused()


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"do_resize": False}, "does not resize"),
        ({"rescale_factor": 1 / 127.5}, "instead of 1/255"),
        ({"resample": 4}, "'box'"),
        ({"do_rescale": False}, "levels of 255"),
        ({"image_processor_type": "DeiTImageProcessor", "do_center_crop": True}, "no square"),
    ],
)
def test_preprocessing_that_a_worker_cannot_do(settings, reason, tmp_path, refused):
    checkpoints.vit(tmp_path / "checkpoint")
    rewrite(tmp_path / "checkpoint" / "preprocessor_config.json", **settings)
    assert reason in refused()


def test_two_towers_and_no_choice(tmp_path, refused):
    checkpoints.clip(tmp_path / "checkpoint")
    assert "choose --tower image or text" in refused()


def test_the_text_tower_of_a_siglip(tmp_path, refused):
    checkpoints.siglip(tmp_path / "checkpoint")
    assert "choose --tower image" in refused(tower="text")


def test_images_of_another_size_than_the_model_takes(tmp_path, refused):
    checkpoints.vit(tmp_path / "checkpoint")
    rewrite(tmp_path / "checkpoint" / "preprocessor_config.json", size={"height": 40, "width": 40})
    assert "the model fails on a sample: Input image size (40*40)" in refused()


def test_more_tokens_than_the_model_has_positions(tmp_path, refused):
    checkpoints.bert(tmp_path / "checkpoint")
    checkpoints.sentence_files(
        tmp_path / "checkpoint", pooling={"pooling_mode_mean_tokens": True}, max_seq_length=99
    )
    assert "the model fails on a sample" in refused()


def test_options_that_do_not_apply(tmp_path, refused):
    checkpoints.vit(tmp_path / "checkpoint")
    assert "--tower does not apply to an image model" in refused(tower="text")
    assert "--pooling does not apply to an image model" in refused(pooling="cls")


def test_a_model_that_generates_text(tmp_path, refused):
    torch.manual_seed(0)
    config = transformers.GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=100)
    checkpoints.save(tmp_path / "checkpoint", transformers.GPT2LMHeadModel(config))
    assert "GPT2LMHeadModel is a generative model" in refused()


def test_pooling_and_modules_that_are_not_known(tmp_path, refused):
    checkpoints.bert(tmp_path / "checkpoint")
    kinds = ("Transformer", "Pooling", "Dense")
    checkpoints.sentence_files(
        tmp_path / "checkpoint", kinds=kinds, pooling={"pooling_mode_max_tokens": True}
    )
    assert "modules.json lists Transformer, Pooling, Dense" in refused()
    (tmp_path / "checkpoint" / "modules.json").write_text(
        json.dumps(json.loads((tmp_path / "checkpoint" / "modules.json").read_text())[:2])
    )
    assert "its pooling is max" in refused()
    assert export(tmp_path / "checkpoint", tmp_path / "mean", pooling="mean") == 0


def test_a_prompt_before_each_text(tmp_path, refused):
    checkpoints.bert(tmp_path / "checkpoint")
    checkpoints.sentence_files(tmp_path / "checkpoint", pooling={"pooling_mode_mean_tokens": True})
    (tmp_path / "checkpoint" / "config_sentence_transformers.json").write_text(
        json.dumps({"default_prompt_name": "query"})
    )
    assert "it puts the prompt 'query' before each text" in refused()


def test_a_checkpoint_that_compares_its_vectors_in_another_way(refused, tmp_path):
    checkpoints.bert(tmp_path / "checkpoint")
    checkpoints.sentence_files(tmp_path / "checkpoint", pooling={"pooling_mode_mean_tokens": True})
    (tmp_path / "checkpoint" / "config_sentence_transformers.json").write_text(
        json.dumps({"similarity_fn_name": "jaccard"})
    )
    assert "it compares vectors by 'jaccard'; supported are cosine, dot, eu" in refused()
