"""Static HTML of bounded size: tiles with images, and tables.

Everything that comes from items is escaped, and cut. There are neither scripts nor links, and
styles are inline, so that a notebook shows the same wherever it is opened.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from importlib.util import find_spec
from typing import Any, Final

import numpy as np

from euclidesdb._printing import printable

MAX_BYTES: Final = 290_000
"""Of a whole answer, with its images."""
IMAGE_BYTES: Final = 190_000
"""Of all images together."""
MAX_IMAGE_BYTES: Final = 16_000
MAX_TILES: Final = 60
MAX_ROWS: Final = 50
MAX_CELLS: Final = 8
"""Attributes of one item."""
CAPTION: Final = 15
"""Characters of an id that fit below a tile."""
LIST_END_BYTES: Final = 200
END_BYTES: Final = 2000
"""Kept for what is written last."""

TILE: Final = 128
_FRAME: Final = (
    f"width:{TILE}px;height:{TILE}px;border-radius:8px;overflow:hidden;display:flex;"
    "align-items:center;justify-content:center;background:rgba(128,128,128,.12)"
)
_LINE: Final = "white-space:nowrap;overflow:hidden;text-overflow:ellipsis"
_CELL: Final = "padding:3px 18px 3px 0;text-align:left;border:0;vertical-align:top"
_FAINT: Final = "opacity:.65"
_TABLE: Final = '<table style="border-collapse:collapse;border:0;font-size:13px">'


@dataclass(frozen=True, slots=True)
class Tile:
    """payload: the bytes of an image, a text, an array or None. caption, note, more: below it."""

    payload: Any
    caption: str
    note: str = ""
    more: Sequence[tuple[str, str]] = ()


class Document:
    """One answer as HTML, which takes no more once it has reached its size.

    images: how many there will be at most; they share the space for images.
    """

    def __init__(self, images: int = 0) -> None:
        self._parts: list[str] = []
        self._left = MAX_BYTES - END_BYTES
        self._image_bytes = min(MAX_IMAGE_BYTES, IMAGE_BYTES // max(1, min(images, MAX_TILES)))
        self._tiles_left = MAX_TILES
        self._without_pillow = False

    def heading(self, title: str, note: str = "") -> None:
        """Write a title, and faintly what there is to know about it."""
        faint = f' <span style="{_FAINT}">{shown(note, 300)}</span>' if note else ""
        self._write(f'<div style="margin:1em 0 .6em"><b>{shown(title, 100)}</b>{faint}</div>')

    def note(self, text: str) -> None:
        """Write a faint line."""
        self._write(f'<div style="margin:.5em 0;{_FAINT}">{shown(text, 1000)}</div>')

    def tiles(self, tiles: Sequence[Tile], count: int) -> None:
        """Write the first of `count` tiles, side by side."""
        wanted = map(self._tile, tiles[: self._tiles_left])
        start = '<div style="display:flex;flex-wrap:wrap;gap:14px">'
        self._tiles_left -= self._list(start, wanted, "</div>", count)

    def table(self, heads: Sequence[str], rows: Sequence[Sequence[str]], count: int) -> None:
        """Write the first of `count` rows under their heads."""
        cells = "".join(f'<th style="{_CELL};{_FAINT}">{shown(head, 40)}</th>' for head in heads)
        lines = (
            "".join(f'<td style="{_CELL}">{shown(cell, 100)}</td>' for cell in row)
            for row in rows[:MAX_ROWS]
        )
        wanted = (f"<tr>{line}</tr>" for line in lines)
        self._list(f"{_TABLE}<tr>{cells}</tr>", wanted, "</table>", count)

    def bars(self, counts: Sequence[tuple[str, int]]) -> None:
        """Write numbers with bars."""
        largest = max((count for _, count in counts), default=0) or 1
        wanted = (_bar(text, count, count / largest) for text, count in counts[:MAX_ROWS])
        self._list(_TABLE, wanted, "</table>", len(counts))

    def html(self) -> str:
        """The whole."""
        if self._without_pillow:
            self.note("Images need Pillow, which is not installed: pip install pillow")
        style = "font:13px/1.5 system-ui,sans-serif;max-width:78em"
        return f'<div style="{style}">{"".join(self._parts)}</div>'

    def _list(self, start: str, parts: Iterable[str], end: str, count: int) -> int:
        """Write a start, parts as long as there is space, an end, and how many of `count` are left.

        Returns the number of parts.
        """
        done = 0
        self._left -= LIST_END_BYTES
        if self._write(start):
            for part in parts:
                if not self._write(part):
                    break
                done += 1
            self._parts.append(end)
            if count > done:
                style = f"margin:.5em 0;{_FAINT}"
                self._parts.append(f'<div style="{style}">and {count - done:,} more</div>')
        return done

    def _write(self, part: str) -> bool:
        """Append a part, unless it is too much."""
        size = len(part.encode())
        if size > self._left:
            return False
        self._left -= size
        self._parts.append(part)
        return True

    def _tile(self, tile: Tile) -> str:
        caption = tile.caption
        if len(caption) > CAPTION:  # the end of a path says more than its beginning
            caption = caption.rpartition("/")[2] or caption
        if len(caption) > CAPTION:
            caption = f"…{caption[1 - CAPTION :]}"
        style = f"{_LINE};font-weight:600"
        title = shown(tile.caption, 120)
        lines = [f'<div style="{style}" title="{title}">{shown(caption, CAPTION)}</div>']
        if tile.note:
            lines.append(f'<div style="{_LINE};{_FAINT}">{shown(tile.note, 80)}</div>')
        for name, value in tile.more[:MAX_CELLS]:
            text = f"{shown(name, 30)}: {shown(value, 60)}"
            lines.append(f'<div style="{_LINE}" title="{text}">{text}</div>')
        frame = f'<div style="{_FRAME};margin-bottom:5px">{self._content(tile)}</div>'
        return f'<div style="width:{TILE}px">{frame}{"".join(lines)}</div>'

    def _content(self, tile: Tile) -> str:
        match tile.payload:
            case bytes():
                return self._image(tile.payload, tile.caption)
            case str():
                style = "padding:10px;align-self:flex-start;font-size:12px;overflow-wrap:anywhere"
                text = " ".join(tile.payload[:2000].split())
                return f'<span style="{style}">{shown(text, 80)}</span>'
            case np.ndarray():
                return _faint(f"{tile.payload.dtype} tensor of shape {tile.payload.shape}")
        return _faint("nothing kept")

    def _image(self, data: bytes, caption: str) -> str:
        if find_spec("PIL") is None:
            self._without_pillow = True
            return _faint(f"image of {len(data):,} bytes")
        from euclidesdb._thumbnails import data_uri  # noqa: PLC0415  needs Pillow

        found = data_uri(data, self._image_bytes)
        if found is None:
            return _faint("an image that cannot be shown")
        uri, pixelated = found
        rendering = ";image-rendering:pixelated" * pixelated
        return (
            f'<img src="{uri}" alt="{shown(caption, 60)}" '
            f'style="width:100%;height:100%;object-fit:contain{rendering}">'
        )


def shown(text: str, characters: int) -> str:
    """The beginning of a text, with nothing in it that is markup or cannot be seen."""
    cut = f"{text[:characters]}…" if len(text) > characters else text
    return escape(printable(cut))


def _faint(text: str) -> str:
    return f'<span style="padding:10px;text-align:center;{_FAINT}">{shown(text, 60)}</span>'


def _bar(text: str, count: int, share: float) -> str:
    width = max(1, round(240 * share)) if count else 0
    bar = f"height:10px;width:{width}px;border-radius:3px;background:#4c8bf5"
    return (
        f'<tr><td style="{_CELL}">{shown(text, 60)}</td>'
        f'<td style="{_CELL};text-align:right">{count:,}</td>'
        f'<td style="{_CELL};vertical-align:middle"><div style="{bar}"></div></td></tr>'
    )
