"""A model file that is not a program is named, with what to do about it."""

import os
import subprocess
import sys
import tempfile
import zipfile
from argparse import Namespace

import pytest
import torch
from safetensors.torch import save_file

from euclidesdb_server.errors import ModelLoadError
from euclidesdb_server.worker import loading
from tests.support.models import Tiny, save_model
from tests.worker.odd_programs import Constant, load, load_folder

EXPORT = "save a program: torch.export.save(torch.export.export(model, ...), 'model.pt2')"


def plain():
    return torch.nn.Linear(3, 2)


def exported(path):
    torch.export.save(torch.export.export(plain(), (torch.rand(2, 3),)), path)


def archive_of(*names):
    def write(path):
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, b"{}")

    return write


def cut(path):
    torch.jit.script(plain()).save(str(path))
    path.write_bytes(path.read_bytes()[:-40])


def half_a_pickle(path):
    torch.save(plain().state_dict(), path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:100])


# how to make the file -> a part of the message
FILES = {
    "a state_dict": (
        lambda path: torch.save(plain().state_dict(), path),
        f"it holds the weights of a model (a state_dict) without its code; load them into the "
        f"model and {EXPORT}",
    ),
    "an old state_dict": (
        lambda path: torch.save(plain().state_dict(), path, _use_new_zipfile_serialization=False),
        "(a state_dict) without its code",
    ),
    "a training checkpoint": (
        lambda path: torch.save(
            {"model": plain().state_dict(), "args": Namespace(rate=0.1), "epoch": 3}, path
        ),
        "(a state_dict) without its code",
    ),
    "a pickled model": (
        lambda path: torch.save(plain(), path),
        "it is a model pickled by torch.save, which needs its Python code",
    ),
    "an old pickled model": (
        lambda path: torch.save(plain(), path, _use_new_zipfile_serialization=False),
        "it is a model pickled by torch.save, which needs its Python code",
    ),
    "a Lightning checkpoint": (
        lambda path: torch.save({"pytorch-lightning_version": "2.5", "state_dict": {}}, path),
        "it is a checkpoint of Lightning; load it with load_from_checkpoint",
    ),
    "safetensors": (
        lambda path: save_file(plain().state_dict(), path),
        "it holds weights alone (safetensors), without the model's code",
    ),
    "ONNX": (
        lambda path: path.write_bytes(b"\x08\x0a\x12\x07pytorch\x1a\x052.13"),
        "it is an ONNX model; export the PyTorch model that it was made of",
    ),
    "a Git LFS pointer": (
        lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\nsize 9\n"),
        "it is a Git LFS pointer, not the file itself: run `git lfs pull`",
    ),
    "a web page": (
        lambda path: path.write_text("<!DOCTYPE html>\n<html></html>\n"),
        "it is an HTML page: was it downloaded from the page of the file",
    ),
    "a Keras file": (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n"), "it is an HDF5 file"),
    "a GGUF file": (lambda path: path.write_bytes(b"GGUF\3\0\0\0"), "it is a GGUF file"),
    "an empty file": (lambda path: path.write_bytes(b""), "it is empty: copy it again"),
    "an archive": (archive_of("a.txt"), "it is an archive of something else"),
    "a compiled program": (
        archive_of("model/data/aotinductor/model/code.so", "model/models/model.json"),
        "it is compiled for one machine (AOTInductor)",
    ),
    "half an archive": (cut, "it is an archive that is incomplete or damaged: copy it again"),
    "half a pickle": (half_a_pickle, "it is a pickle that is incomplete or damaged"),
}


@pytest.mark.parametrize("kind", ["program.pt", "program.pt2"])
@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_not_a_program_is_named(tmp_path, name, kind):
    write, text = FILES[name]
    folder = save_model(tmp_path, filename=kind)
    write(folder / kind)
    with pytest.raises(ModelLoadError) as caught:
        load_folder(folder)
    expected = "a TorchScript program" if kind.endswith("t") else "a program saved by torch.export"
    assert str(caught.value).startswith(f"{folder / kind} is not {expected}: ")
    assert text in str(caught.value)


def test_an_exported_program_that_is_named_like_torchscript_gets_its_own_name(tmp_path):
    folder = save_model(tmp_path)
    archive_of("program/models/model.json", "program/data/weights/w")(folder / "program.pt")
    with pytest.raises(ModelLoadError) as caught:
        load_folder(folder)
    assert str(caught.value).endswith(
        "program.pt is not a TorchScript program: it is a program saved by torch.export: name it "
        "program.pt2, and set [model] filename"
    )


def test_torchscript_that_is_named_like_an_exported_program_gets_its_own_name(tmp_path):
    folder = save_model(tmp_path, filename="program.pt2")
    (folder / "program.pt").rename(folder / "program.pt2")
    with pytest.raises(ModelLoadError, match=r"it is a TorchScript program: name it program\.pt,"):
        load_folder(folder)


class Halved(torch.nn.Module):
    """A network whose weights have 16 bits, as many are published."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(3, 3).to(dtype)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.linear(images.mean(dim=[2, 3]))
        return features


@pytest.mark.parametrize(
    ("kind", "precision"),
    [("program.pt", "float16"), ("program.pt", "bfloat16"), ("program.pt2", "bfloat16")],
)
def test_a_program_of_half_precision_is_refused_with_the_key_that_it_needs(
    tmp_path, precision, kind
):
    module = Halved(getattr(torch, precision)).eval()
    conf = {"prediction_dim": 0, "feature_dim": 3, "filename": kind}
    folder = save_model(tmp_path, module=module, **conf)
    right = save_model(tmp_path, "right", module=module, precision=precision, **conf)
    if kind.endswith("2"):
        example = torch.rand(2, 3, 32, 32, dtype=getattr(torch, precision))
        shapes = ({0: torch.export.Dim("batch"), 2: torch.export.Dim("height"),
                   3: torch.export.Dim("width")},)  # fmt: skip
        program = torch.export.export(module, (example,), dynamic_shapes=shapes)
        for target in (folder, right):
            torch.export.save(program, target / kind)
    with pytest.raises(ModelLoadError) as caught:
        load_folder(folder)
    assert str(caught.value).endswith(
        f"; its weights are {precision}: set [model] precision = {precision}"
    )
    assert load_folder(right).dtype == getattr(torch, precision)


def test_features_that_are_the_same_for_all_are_a_warning(tmp_path):
    program = load(tmp_path, Constant(), prediction_dim=0)
    assert program.warning.startswith("its features are the same for two different inputs")


def test_features_that_differ_cause_no_warning(tmp_path):
    assert load(tmp_path, Tiny(), feature_dim=12).warning == ""


WITHOUT_TEMPORARY_FOLDER = """
import sys, tempfile, warnings
from pathlib import Path
warnings.simplefilter("ignore")
def nowhere():
    raise FileNotFoundError(2, "No usable temporary directory found")
tempfile._get_default_tempdir = nowhere
import torch
from euclidesdb_server.errors import ModelLoadError
from euclidesdb_server.worker import loading
from euclidesdb_server.worker import loading
loading.SHARED_MEMORY = Path(sys.argv[2])
module = loading._exported(Path(sys.argv[1]), torch.device("cpu"), torch.float32)
print(tuple(module(torch.rand(2, 3)).shape))
"""


@pytest.mark.long
def test_an_exported_program_needs_no_writable_temporary_folder_but_shared_memory(tmp_path):
    # in a process of its own: torch looks for the folder once
    path = tmp_path / "program.pt2"
    exported(path)
    environment = {key: os.environ[key] for key in os.environ if "TORCHINDUCTOR" not in key}
    command = [sys.executable, "-c", WITHOUT_TEMPORARY_FOLDER, str(path), str(tmp_path)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert run.stdout == "(2, 2)\n"


def test_an_exported_program_without_any_writable_folder_is_refused_with_the_reason(
    tmp_path, monkeypatch
):
    def nowhere():
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_get_default_tempdir", nowhere)
    monkeypatch.setattr(loading, "SHARED_MEMORY", tmp_path / "absent")
    folder = save_model(tmp_path, filename="program.pt2")
    archive_of("program/models/model.json")(folder / "program.pt2")
    with pytest.raises(ModelLoadError, match=r"program\.pt2: torch\.export needs .* set TMPDIR \("):
        load_folder(folder)
    monkeypatch.setattr(loading, "SHARED_MEMORY", tmp_path)
    with pytest.raises(ModelLoadError, match="is not a program saved by torch"):
        load_folder(folder)
    assert tempfile.gettempdir() == str(tmp_path)
