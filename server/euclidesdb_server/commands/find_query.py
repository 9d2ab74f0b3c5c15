"""The query of `euclidesdb find`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt

import euclidesdb


@dataclass(frozen=True, slots=True)
class Query:
    """What items are to be like.

    arguments: of `Client.find_similar`. title: of what is searched, in words. positive, negative:
    the examples, by the names of the fields of `Example`.
    """

    arguments: Mapping[str, Any]
    title: str
    positive: Sequence[tuple[str, Any]]
    negative: Sequence[tuple[str, Any]]


def check_model_of_vector(given: Mapping[str, Any], models: Sequence[str]) -> None:
    """A vector has a meaning in one model's space alone. Raises UsageError."""
    if "vector" in given and len(models) != 1:
        raise click.UsageError(
            "--vector needs one --model: the one in whose space the vector is",
            click.get_current_context(),
        )


def query_of(given: Mapping[str, Any], like: Sequence[str], unlike: Sequence[str]) -> Query:
    """The query of the options that are given. Raises UsageError, ClickException."""
    context = click.get_current_context()
    if len(given) > 1 or not (given or like):
        raise click.UsageError(
            "give one of --image, --text, --id and --vector, or --like; not "
            f"{' and '.join(f'--{name}' for name in given) or 'none'}",
            context,
        )
    values = {name: _vector(value) if name == "vector" else value for name, value in given.items()}
    positive = [*values.items(), *(("id", each) for each in like)]
    negative = [("id", each) for each in unlike]
    if len(positive) == 1 and not negative:
        ((name, value),) = positive
        return Query({name: value}, _title(name, given.get(name, value)), positive, ())
    examples = euclidesdb.Examples(
        [_example(name, value) for name, value in positive],
        [_example(name, value) for name, value in negative],
    )
    title = f"{len(positive)} examples" + f", unlike {len(negative)}" * bool(negative)
    return Query({"examples": examples}, title, positive, negative)


def _example(name: str, value: Any) -> euclidesdb.Example:
    fields: dict[str, Any] = {name: value}
    return euclidesdb.Example(**fields)


def _title(name: str, value: Any) -> str:
    return f"“{value}”" if name == "text" else getattr(value, "name", str(value))


def _vector(file: Path) -> npt.NDArray[Any]:
    """The vector in a .npy file. Raises ClickException."""
    try:
        vector = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise click.ClickException(f"{file}: not a .npy file: {error}") from error
    if not isinstance(vector, np.ndarray):
        raise click.ClickException(f"{file}: several arrays; a .npy file with one is needed")
    if vector.ndim == 2 and len(vector) == 1:
        vector = vector.reshape(-1)
    if vector.ndim != 1:
        raise click.ClickException(
            f"{file}: a vector has the shape (feature_dim,), not {vector.shape}"
        )
    return vector
