"""What `euclidesdb add` is given, as items: files, folders, patterns, and tables."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import click

from euclidesdb_server.commands.add_tables import TABLES, Columns, Rows

IMAGES: Final = frozenset(
    (
        ".avif", ".bmp", ".gif", ".heic", ".heif", ".ico", ".j2k", ".jfif", ".jp2", ".jpe",
        ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp",
    )
)  # fmt: skip
TEXTS: Final = frozenset((".md", ".text", ".txt"))


@dataclass(frozen=True, slots=True)
class Given:
    """An item to add; if `error` is set, why it cannot be, and `id` says where it stands.

    kind: "image" or "text". value: the path or the bytes of an image, or a text. attributes: None:
    those stored stay.
    """

    id: str
    kind: str = ""
    value: Any = None
    attributes: Mapping[str, Any] | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """Some items. kinds: which there may be. total: their number, None if it is unknown."""

    items: Callable[[], Iterator[Given]]
    kinds: frozenset[str]
    total: int | None = None


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """text: None, or what an item of a text file is, "lines" or "files"."""

    text: str | None
    columns: Columns
    folder_attribute: str | None


def sources(paths: Iterable[str], options: SourceOptions) -> list[Source]:
    """The sources that are given.

    Raises ClickException for a path that does not exist, a URL, an empty folder, and a table
    without the columns that are needed.
    """
    return [_source(Path(path), options) for given in paths for path in _expanded(given)]


def _expanded(path: str) -> Sequence[str]:
    """The path, or what matches it as a pattern, which a shell has not expanded."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", path) and not os.path.lexists(path):
        raise click.ClickException(f"{path!r} is a URL; download it first, and add the file")
    if os.path.lexists(path) or not glob.has_magic(path):
        return [path]
    # Path.glob needs a folder in which the pattern begins
    found = sorted(glob.glob(path, recursive=True))  # noqa: PTH207
    if not found:
        raise click.ClickException(f"nothing matches {path!r}")
    # a pattern such as ** also matches folders, whose files it matches, too
    return [each for each in found if not Path(each).is_dir()] or found


def _source(path: Path, options: SourceOptions) -> Source:
    if path.is_dir():
        return _folder(path, options)
    if not path.is_file():
        what = "is neither a file nor a folder" if path.exists() else "does not exist"
        raise click.ClickException(f"{str(path)!r} {what}")
    suffix = path.suffix.lower()
    if suffix in TABLES:
        rows = Rows(path, options.columns)
        return Source(partial(_table_items, rows), rows.kinds)
    if options.text is None and suffix in TEXTS:
        raise click.UsageError(
            f"{str(path)!r} is a text file: say --text lines or --text files",
            click.get_current_context(),
        )
    return _files([(path.as_posix(), path)], options)


def _folder(folder: Path, options: SourceOptions) -> Source:
    suffixes = IMAGES if options.text is None else TEXTS
    found = []
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(where, name)
            if path.suffix.lower() in suffixes and not name.startswith("."):
                found.append((path.relative_to(folder).as_posix(), path))
    if not found:
        hint = "text files; they end with .txt or .md" if options.text else "images"
        more = "" if options.text else "; for text files, say --text files or --text lines"
        raise click.ClickException(f"there are no {hint} in {str(folder)!r}{more}")
    return _files(found, options)


def _files(files: Sequence[tuple[str, Path]], options: SourceOptions) -> Source:
    if options.text is None:
        return Source(partial(_images, files, options), frozenset(("image",)), len(files))
    total = len(files) if options.text == "files" else None
    return Source(partial(_texts, files, options), frozenset(("text",)), total)


def _attributes(path: Path, options: SourceOptions) -> dict[str, Any] | None:
    if options.folder_attribute is None:
        return None
    return {options.folder_attribute: path.absolute().parent.name}


def _images(files: Sequence[tuple[str, Path]], options: SourceOptions) -> Iterator[Given]:
    for name, path in files:
        yield Given(name, "image", path, _attributes(path, options))


def _texts(files: Sequence[tuple[str, Path]], options: SourceOptions) -> Iterator[Given]:
    for name, path in files:
        attributes = _attributes(path, options)
        try:
            if options.text == "files":
                yield Given(name, "text", path.read_text(encoding="utf-8-sig"), attributes)
                continue
            with path.open(encoding="utf-8-sig") as lines:
                for number, line in enumerate(lines, 1):
                    if text := line.strip():
                        yield Given(f"{name}:{number}", "text", text, attributes)
        except OSError as error:
            yield Given(name, error=f"cannot be read: {error}")
        except UnicodeDecodeError as error:
            yield Given(name, error=f"is not UTF-8: {error.reason} at byte {error.start:,}")


def _table_items(rows: Rows) -> Iterator[Given]:
    for place, row in rows:
        yield Given(place, error=row) if isinstance(row, str) else Given(*row)
