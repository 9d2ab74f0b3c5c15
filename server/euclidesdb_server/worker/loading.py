"""Loads a model's program and checks it.

TorchScript (`.pt`, `.pth`) is frozen and optimized for inference if its outputs stay the same;
programs of torch.export (`.pt2`) run as they are.
"""

from __future__ import annotations

import logging
import os
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch.export.passes import move_to_device_pass

from euclidesdb_server.errors import ModelLoadError
from euclidesdb_server.worker import model_files
from euclidesdb_server.worker.inputs import make_input
from euclidesdb_server.worker.load_check import check_program, keeps_outputs
from euclidesdb_server.worker.program import Module, Program

log = logging.getLogger(__name__)

PRECISIONS: Final = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
EXPORTED: Final = ".pt2"

SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108  no name in it is predictable
"""For temporary files if no other directory is writable, as in a container that is read-only."""


def load_program(load: Mapping[str, Any]) -> Program:
    """The program of the server's `load` message, checked. Raises ModelLoadError."""
    torch.set_num_threads(load["threads"])
    conf, path = load["conf"], Path(load["program"])
    device, dtype = _device(load["device"]), PRECISIONS[conf["precision"]]
    inputs = make_input({**conf, "max_image_pixels": load["max_image_pixels"]})
    if path.suffix == EXPORTED:
        module = _exported(path, device, dtype)
    else:
        module = _torchscript(path, device, dtype)
    program = Program(module, inputs, conf, device=device, dtype=dtype, threads=load["threads"])
    batches = conf["max_batch_size"] > 1
    try:
        program.warning = check_program(program, batches=batches)
    except ModelLoadError as error:
        precision = _half_precision(module)
        if precision and dtype == torch.float32:
            raise ModelLoadError(
                f"{error}; its weights are {precision}: set [model] precision = {precision}"
            ) from error
        raise
    if isinstance(module, torch.jit.ScriptModule):
        _freeze(program, module, batches=batches)
    program.measure()
    return program


def _device(name: str) -> torch.device:
    if name == "cpu":
        return torch.device(name)
    number = int(name.partition(":")[2])  # torch.device takes cuda:1000 for a negative one
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if number >= count:
        raise ModelLoadError(f"devices: {name} does not exist: torch finds {count} CUDA devices")
    return torch.device("cuda", number)


def _torchscript(path: Path, device: torch.device, dtype: torch.dtype) -> torch.jit.ScriptModule:
    _check_file(path, model_files.TORCHSCRIPT)
    try:
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            module: torch.jit.ScriptModule = torch.jit.load(path, map_location=device)  # type: ignore[no-untyped-call]
        module.eval()
        return module if dtype == torch.float32 else module.to(dtype)
    except Exception as error:  # torch raises anything, down to RuntimeError, on a bad archive
        raise ModelLoadError(
            f"{path} is not {model_files.TORCHSCRIPT}: {_reason(error)}"
        ) from error


def _exported(path: Path, device: torch.device, dtype: torch.dtype) -> Module:
    _check_file(path, model_files.EXPORTED)
    _choose_temporary_directory(path)
    try:
        with warnings.catch_warnings(action="ignore"):
            exported = torch.export.load(path)
            if device.type != "cpu":
                exported = move_to_device_pass(exported, str(device))
            module = exported.module(check_guards=False)
            return module if dtype == torch.float32 else module.to(dtype)
    except Exception as error:  # as above
        raise ModelLoadError(f"{path} is not {model_files.EXPORTED}: {_reason(error)}") from error


def _check_file(path: Path, expected: str) -> None:
    try:
        problem = model_files.described(path, expected)
    except OSError as error:
        raise ModelLoadError(f"{path} cannot be read: {error}") from error
    if problem:
        raise ModelLoadError(f"{path} is not {expected}: {problem}")


def _choose_temporary_directory(path: Path) -> None:
    """torch.export.load makes a folder for temporary files, of which it writes none here."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError as error:
        if not os.access(SHARED_MEMORY, os.W_OK):
            raise ModelLoadError(
                f"{path}: torch.export needs a directory for temporary files, and there is none "
                f"that is writable: set TMPDIR ({error})"
            ) from error
        tempfile.tempdir = str(SHARED_MEMORY)


def _half_precision(module: Module) -> str:
    """The type of its weights if they have 16 bits, else an empty string."""
    types = {str(weight.dtype) for weight in getattr(module, "parameters", list)()}
    return next((name for name in ("bfloat16", "float16") if f"torch.{name}" in types), "")


def _freeze(program: Program, module: torch.jit.ScriptModule, *, batches: bool) -> None:
    """Fold constants (batch normalization into convolutions: a ResNet-18 becomes 1.4 times as
    fast), unless that changes the program's outputs.
    """
    try:
        with warnings.catch_warnings(action="ignore"):
            frozen = torch.jit.freeze(module)
    except Exception as error:  # foreign code: a graph that the passes do not support
        log.info("model %r is not frozen: %s", program.name, _reason(error))
        return
    if not keeps_outputs(program, frozen, batches=batches):
        log.info("model %r is not frozen: that would change its outputs", program.name)


def _reason(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:500]
