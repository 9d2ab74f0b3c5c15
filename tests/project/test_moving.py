"""The guide to moving from EuclidesDB (C++), step by step as it is written."""

from __future__ import annotations

import fcntl
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import euclidesdb
from euclidesdb_protos.legacy import euclidesproto_pb2 as pb
from tests.project.tree import ROOT
from tests.support.euclidesdb_data import write_euclidesdb
from tests.support.images import noise
from tests.support.processes import ServerProcess, failed_start

PAGE = (ROOT / "docs" / "moving-from-euclidesdb.md").read_text(encoding="utf-8")
ITEMS = 20


class ResNetLike(torch.nn.Module):
    """The shapes of EuclidesDB's example: 1,000 predictions and 512 features."""

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        pooled = torch.nn.functional.adaptive_avg_pool2d(images, (8, 8)).flatten(1)
        features = torch.nn.functional.pad(pooled, [0, 320])
        return torch.softmax(torch.nn.functional.pad(pooled, [0, 808]), dim=1), features


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def run(folder: Path, command: str, *options: str) -> str:
    """What a command of the page prints."""
    program, *arguments = shlex.split(command)
    assert program == "euclidesdb"
    done = subprocess.run(
        [sys.executable, "-m", "euclidesdb_server", *arguments, *options],
        cwd=folder, capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    """What the first step copies: configuration, models and database of EuclidesDB."""
    folder = tmp_path_factory.mktemp("euclidesdb")
    config, model_conf = blocks("ini")
    (folder / "euclidesdb.conf").write_text(config.replace(":50000", ":0"))
    model = folder / "models" / "resnet18"
    model.mkdir(parents=True)
    (model / "model.conf").write_text(model_conf)
    torch.jit.script(ResNetLike().eval()).save(str(model / "resnet18.pth"))
    items = [
        pb.ItemData(
            item_id=number,
            metadata=b"about %d" % number,
            vectors=[
                pb.ItemVectors(model="resnet18", features=[number, *[0] * 511]),
                pb.ItemVectors(model="later", features=[number, *[1] * 511]),
            ],
        )
        for number in range(ITEMS)
    ]
    write_euclidesdb(folder / "database", *items)
    return folder


@pytest.fixture(scope="module")
def moved(old):
    """The server of the fourth step, after the check of the third."""
    check, serve, _ = blocks("sh")
    assert "512" in run(old, check.strip())
    assert serve.split() == ["euclidesdb", "serve", "--config", "euclidesdb.conf"]
    before = contents(old / "database")
    with ServerProcess("--config", old / "euclidesdb.conf", log=old / "log") as server:
        server.address()
        assert before.items() <= contents(old / "database").items()
        yield server


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


@pytest.mark.usefixtures("moved")
def test_the_log_says_how_many_items_were_migrated(old):
    assert f"migrated {ITEMS} items" in (old / "logfile.log").read_text()


def test_the_commands_that_compare_show_every_item(moved, old):
    models, count = blocks("sh")[2].splitlines()
    shown = run(old, models, "--address", moved.address())
    assert "resnet18  ready" in re.sub(r" {2,}", "  ", shown)
    assert run(old, count, "--address", moved.address()).split()[0] == str(ITEMS)


def test_the_samples_of_both_clients_find_the_items(moved, capsys):
    legacy, new = (
        sample.replace("localhost:50000", moved.address()) for sample in blocks("python")
    )
    exec(legacy, {})
    assert re.fullmatch(r"resnet18 \[7, \d+, \d+\]\n", capsys.readouterr().out)
    exec(new, {})
    ids, metadata = capsys.readouterr().out.splitlines()
    assert len(re.findall(r"'\d+'", ids)) == 2
    assert metadata == "b'about 7'"


def test_a_model_that_is_configured_later_takes_over_its_vectors(moved, old):
    line = "fingerprint = euclidesdb-512"
    assert f"`{line}`" in PAGE
    folder = old / "models" / "later"
    folder.mkdir()
    conf = blocks("ini")[1].replace("\nname = resnet18", f"\nname = later\n{line}")
    (folder / "model.conf").write_text(conf)
    (folder / "resnet18.pth").write_bytes((old / "models/resnet18/resnet18.pth").read_bytes())
    with euclidesdb.Client(moved.address()) as db:
        db.load_model("later")
        (later,) = (model for model in db.models() if model.name == "later")
        assert (later.state, later.items) == ("ready", ITEMS)
        db.add("new", image=noise(0), models=["later"])
        assert db.find_similar(image=noise(0), model="later", top_k=1)["later"].ids == ("new",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda conf: conf.replace("tree_factor", "treefactor"), "has no key 'treefactor'"),
        (lambda conf: conf + "[faiss]\nindex_type = IDMap,Flat\n", "IDMap is not supported"),
    ],
)
def test_what_euclidesdb_ignored_or_took_is_named(old, tmp_path, change, message):
    file = tmp_path / "euclidesdb.conf"
    conf = change(blocks("ini")[0]).replace("dir_path = models", f"dir_path = {old / 'models'}")
    conf = re.sub(r"(?m)^address = .*", "address = 127.0.0.1:0", conf)
    file.write_text(conf.replace("annoy\n", "faiss\n", 1) if "IDMap" in conf else conf)
    code, error = failed_start("--config", file)
    assert (code, message in error) == (1, True), error


def test_the_messages_of_refused_data_exist():
    _, _, section = PAGE.partition("### If the data is refused")
    section = section.partition("\n## ")[0]
    source = (ROOT / "server/euclidesdb_server/store/migration.py").read_text(encoding="utf-8")
    messages = [text for row in re.findall(r"^\| (`.*`) \|", section, re.M)
                for text in re.findall(r"`([^`]+)`", row)]  # fmt: skip
    assert len(messages) == 5
    assert not [message for message in messages if message not in source]


def test_a_database_in_use_is_refused_by_name(tmp_path):
    write_euclidesdb(tmp_path / "database", pb.ItemData(item_id=1))
    with (tmp_path / "database" / "LOCK").open("w") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        code, error = failed_start(
            "--data", tmp_path / "database", "--models", tmp_path, "--address", "127.0.0.1:0"
        )
    assert code == 1
    assert "is in use by another process" in error
