"""From a model's files to a program that has passed its load check.

TorchScript (`.pt`, `.pth`), frozen and optimized for inference where its outputs stay what they
were; and programs of torch.export (`.pt2`).
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch.export.passes import move_to_device_pass

from euclidesdb_server.errors import ModelLoadError
from euclidesdb_server.worker.inputs import InputKind
from euclidesdb_server.worker.load_check import check_program, keeps_outputs
from euclidesdb_server.worker.program import Module, Program

log = logging.getLogger(__name__)

PRECISIONS: Final = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
EXPORTED: Final = ".pt2"


def load_program(load: Mapping[str, Any]) -> Program:
    """The program of the parent's `load` message, checked. Raises ModelLoadError."""
    torch.set_num_threads(load["threads"])
    conf, path = load["conf"], Path(load["program"])
    device, dtype = _device(load["device"]), PRECISIONS[conf["precision"]]
    inputs = make_inputs(conf, max_image_pixels=load["max_image_pixels"])
    if path.suffix == EXPORTED:
        module = _exported(path, device, dtype)
    else:
        module = _torchscript(path, device, dtype)
    program = Program(module, inputs, conf, device=device, dtype=dtype)
    batches = conf["max_batch_size"] > 1
    check_program(program, batches=batches)
    if isinstance(module, torch.jit.ScriptModule):
        _freeze(program, module, batches=batches)
    return program


def make_inputs(conf: Mapping[str, Any], *, max_image_pixels: int) -> InputKind:
    """The kind of input that a model.conf says. Raises ModelLoadError."""
    # each needs a library of its own, which a worker for another kind is spared
    match conf["input"]:
        case "image":
            from euclidesdb_server.worker.inputs.image import ImageInput  # noqa: PLC0415

            return ImageInput(conf, max_pixels=max_image_pixels)
        case "text":
            try:
                from euclidesdb_server.worker.inputs.text import TextInput  # noqa: PLC0415
            except ModuleNotFoundError as error:
                raise ModelLoadError(
                    "input = text needs the package tokenizers: pip install 'euclidesdb[server]'"
                ) from error
            return TextInput(conf)
        case "tensor":
            from euclidesdb_server.worker.inputs.tensor import TensorInput  # noqa: PLC0415

            return TensorInput(conf)
        case other:
            raise ModelLoadError(f"no program takes input = {other!r}")


def _device(name: str) -> torch.device:
    if name == "cpu":
        return torch.device(name)
    number = int(name.partition(":")[2])  # torch.device takes cuda:1000 for a negative one
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if number >= count:
        raise ModelLoadError(f"devices: there is no {name} here: torch sees {count} of them")
    return torch.device("cuda", number)


def _torchscript(path: Path, device: torch.device, dtype: torch.dtype) -> torch.jit.ScriptModule:
    try:
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            module: torch.jit.ScriptModule = torch.jit.load(path, map_location=device)  # type: ignore[no-untyped-call]
        module.eval()
        return module if dtype == torch.float32 else module.to(dtype)
    except Exception as error:  # torch raises anything, down to RuntimeError, on a bad archive
        raise ModelLoadError(f"{path} is no TorchScript program: {_reason(error)}") from error


def _exported(path: Path, device: torch.device, dtype: torch.dtype) -> Module:
    try:
        with warnings.catch_warnings(action="ignore"):
            exported = torch.export.load(path)
            if device.type != "cpu":
                exported = move_to_device_pass(exported, str(device))
            module = exported.module(check_guards=False)
            return module if dtype == torch.float32 else module.to(dtype)
    except Exception as error:  # as above
        raise ModelLoadError(
            f"{path} is no program that torch.export saved: {_reason(error)}"
        ) from error


def _freeze(program: Program, module: torch.jit.ScriptModule, *, batches: bool) -> None:
    """Fold what is constant (batch normalization into convolutions: a ResNet-18 is 1.4 times as
    fast), where that keeps what the program answers.
    """
    try:
        with warnings.catch_warnings(action="ignore"):
            frozen = torch.jit.freeze(module)
    except Exception as error:  # foreign code: a graph that the passes cannot deal with
        log.info("model %r runs as it was saved: %s", program.name, _reason(error))
        return
    if not keeps_outputs(program, frozen, batches=batches):
        log.info("model %r runs as it was saved: frozen, it answers otherwise", program.name)


def _reason(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:500]
