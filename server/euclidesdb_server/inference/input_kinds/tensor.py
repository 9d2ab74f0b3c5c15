"""Tensors: audio, sensor windows, any array that goes to the program as it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from euclidesdb_server.config.ini import CommaSeparated
from euclidesdb_server.errors import ModelLoadError
from euclidesdb_server.inference.model_conf import ProgramConf

ANY_LENGTH: Final = "*"
"""In input_shape."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorConf(ProgramConf):
    """Section [model] of a model that takes arrays."""

    input: Literal["tensor"]
    input_shape: Annotated[tuple[str, ...], CommaSeparated]
    """The shape of one item: lengths, separated by commas; `*`: any length."""
    input_dtype: Literal[
        "float32", "float64", "float16", "int8", "int16", "int32", "int64", "uint8", "bool"
    ] = "float32"

    def preprocessing(self) -> dict[str, Any]:
        """As `ProgramConf.preprocessing`."""
        return {
            "input": self.input,
            "input_dtype": self.input_dtype,
            **ProgramConf.preprocessing(self),
        }

    def check(self) -> None:
        """As `ProgramConf.check`."""
        ProgramConf.check(self)
        for length in self.input_shape:
            if length != ANY_LENGTH and not (length.isdecimal() and int(length) > 0):
                raise ModelLoadError(
                    f"input_shape: {length!r} should be a length of at least 1, or {ANY_LENGTH}"
                )
