"""What a model file is, if it is not the program that its name promises, and what to do about it.

Only signatures and names inside archives are read; nothing is unpickled.
"""

from __future__ import annotations

import io
import pickletools
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

TORCHSCRIPT: Final = "a TorchScript program"
EXPORTED: Final = "a program saved by torch.export"

SAVE_A_PROGRAM: Final = (
    "save a program: torch.export.save(torch.export.export(model, ...), 'model.pt2')"
)
STATE_DICT: Final = (
    "it holds the weights of a model (a state_dict) without its code; load them into the model and "
    + SAVE_A_PROGRAM
)
PICKLED: Final = (
    "it is a model pickled by torch.save, which needs its Python code; load it where that code is "
    "and " + SAVE_A_PROGRAM
)
LIGHTNING: Final = (
    "it is a checkpoint of Lightning; load it with load_from_checkpoint where its code is and "
    + SAVE_A_PROGRAM
)

SIGNATURES: Final[Mapping[str, re.Pattern[bytes]]] = {
    "it is a Git LFS pointer, not the file itself: run `git lfs pull`": re.compile(
        rb"version https://git-lfs"
    ),
    "it is an HTML page: was it downloaded from the page of the file instead of the file?": (
        re.compile(rb"\s*<(!doctype html|html)", re.IGNORECASE)
    ),
    "it holds weights alone (safetensors), without the model's code; load them into the model and "
    + SAVE_A_PROGRAM: re.compile(rb".{6}\0\0\{\s*\"", re.DOTALL),
    "it is an ONNX model; export the PyTorch model that it was made of: "
    + SAVE_A_PROGRAM: re.compile(rb"\x08[\x01-\x20][\x12\x1a\x22\x2a\x32\x3a\x42]"),
    "it is an HDF5 file, as Keras writes them; only PyTorch programs are served": re.compile(
        rb"\x89HDF\r\n\x1a\n"
    ),
    "it is a GGUF file; only PyTorch programs are served": re.compile(rb"GGUF"),
}
"""By what to say: the first bytes of the file."""

PICKLE: Final = re.compile(rb"\x80[\x02-\x05]")
LEGACY_MAGIC: Final = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
LEGACY_HEADERS: Final = 3
"""How many pickles precede that of the object in a file of torch.save before PyTorch 1.6."""
LIGHTNING_KEY: Final = b"pytorch-lightning_version"

MAX_PICKLE_BYTES: Final = 1 << 20


def described(path: Path, expected: str) -> str | None:
    """What is wrong with a model file, and what to do; None: it may be what is expected.

    expected: TORCHSCRIPT or EXPORTED. Raises OSError.
    """
    with path.open("rb") as stream:
        head = stream.read(MAX_PICKLE_BYTES)
    if not head:
        return "it is empty: copy it again"
    for what, signature in SIGNATURES.items():
        if signature.match(head):
            return what
    if PICKLE.match(head):
        return _pickled(head)
    if not head.startswith(b"PK"):
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            return _archived(archive, path, expected)
    except zipfile.BadZipFile:
        return "it is an archive that is incomplete or damaged: copy it again"


def _archived(archive: zipfile.ZipFile, path: Path, expected: str) -> str | None:
    names = [name.partition("/")[2] or name for name in archive.namelist()]
    if any(name.startswith("data/aotinductor") for name in names):
        return "it is compiled for one machine (AOTInductor); " + SAVE_A_PROGRAM
    found = ""
    if any(name.startswith("code/") or name == "constants.pkl" for name in names):
        found = TORCHSCRIPT
    elif any(re.match(r"models/.*\.json|serialized_exported_program", name) for name in names):
        found = EXPORTED
    if found:
        if found == expected:
            return None
        suffix = ".pt" if found == TORCHSCRIPT else ".pt2"
        return f"it is {found}: name it {path.stem}{suffix}, and set [model] filename"
    pickles = [name for name in archive.namelist() if name.endswith("data.pkl")]
    if not pickles:
        return "it is an archive of something else than a PyTorch program"
    with archive.open(pickles[0]) as stream:
        return _pickled(stream.read(MAX_PICKLE_BYTES))


def _pickled(data: bytes) -> str:
    if LIGHTNING_KEY in data:
        return LIGHTNING
    stream = io.BytesIO(data)
    try:
        if data.startswith(LEGACY_MAGIC):
            for _ in range(LEGACY_HEADERS):
                for _ in pickletools.genops(stream):
                    pass
        return STATE_DICT if _is_container(stream) else PICKLED
    except ValueError:
        return "it is a pickle that is incomplete or damaged: copy it again"


def _is_container(pickle: io.BytesIO) -> bool:
    """Whether the object in a pickle is a dict or a list, and not one of a class."""
    strings = [""]
    for operation, argument, _ in pickletools.genops(pickle):
        if isinstance(argument, str) and operation.name != "GLOBAL":
            strings.append(argument)
        elif operation.name in ("GLOBAL", "STACK_GLOBAL"):
            name = str(argument or " ".join(strings[-2:]))
            return name == "collections OrderedDict"
        elif operation.name in ("EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE", "DICT", "LIST"):
            return True
    return False
