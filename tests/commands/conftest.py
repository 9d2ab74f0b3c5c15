"""A server that the tests of commands share, and commands run in this process."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import euclidesdb
from euclidesdb_server.__main__ import main
from tests.support.models import save_model
from tests.support.servers import start_server
from tests.support.vector_spaces import save_vector_space
from tests.worker.test_text_input import MaskedMean, word_tokenizer

ROOT = Path(__file__).resolve().parents[2]


class Ran(NamedTuple):
    """What a command returned and printed."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="package")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server of three models: `digits`, `words` (of texts), `given` (of vectors).

    Tests share it: each has ids of its own.
    """
    folder = tmp_path_factory.mktemp("shared")
    shutil.copytree(ROOT / "models" / "digits", folder / "models" / "digits")
    save_vector_space(folder / "models")
    words = save_model(
        folder / "models", "words", module=MaskedMean(), input="text", feature_dim=6,
        prediction_dim=0,
    )  # fmt: skip
    word_tokenizer().save(str(words / "tokenizer.json"))
    with start_server(folder / "data", folder / "models", strict=True) as server:
        yield server.address


@pytest.fixture
def db(shared_server: str) -> Iterator[euclidesdb.Client]:
    with euclidesdb.Client(shared_server) as client:
        yield client


@pytest.fixture
def command(
    shared_server: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Ran]:
    """Runs a command against the shared server."""
    monkeypatch.setenv("EUCLIDESDB_ADDRESS", shared_server)

    def run(*arguments: Any) -> Ran:
        code = main([*map(str, arguments)])
        printed = capsys.readouterr()
        return Ran(code, printed.out, printed.err)

    return run
