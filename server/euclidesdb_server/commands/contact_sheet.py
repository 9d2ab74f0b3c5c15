"""A contact sheet: tiles with images or texts, in a grid, with captions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from euclidesdb._thumbnails import fitted

PAPER: Final = "#f7f6f2"
TILE: Final = "#ffffff"
INK: Final = "#22262b"
FAINT: Final = "#6f767f"
PLAIN: Final = "#dcd9d0"
LIKE: Final = "#2563c9"
UNLIKE: Final = "#c8383f"

COLUMNS: Final = 6
SIZE: Final = 176
GAP: Final = 20
MARGIN: Final = 36
CAPTION: Final = 8
LINE: Final = 20
TEXT_LINE: Final = 18
HEADER: Final = 88
HEADING: Final = 40
LAST_LATIN: Final = 0x24F
"""The last letter of Unicode's Latin blocks."""


@dataclass(frozen=True, slots=True)
class Tile:
    """content: the bytes of an image file, a text, or None.

    caption, note, more: below it; a long caption takes two lines.
    color: of the frame, and of the note if the frame is not PLAIN.
    """

    content: bytes | str | None
    caption: str
    note: str
    color: str = PLAIN
    more: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """Tiles under a heading."""

    heading: str
    tiles: Sequence[Tile]


def contact_sheet(title: str, sections: Sequence[Section]) -> Image.Image:
    """Draw the sections one below the other, in RGB."""
    tiles = [tile for section in sections for tile in section.tiles]
    columns = min(COLUMNS, max((len(section.tiles) for section in sections), default=1))
    columns = max(columns, 3)  # a title needs some space
    lines = max((len(_lines(tile)) for tile in tiles), default=1)
    row = SIZE + CAPTION + lines * LINE + GAP
    rows = [-(-len(section.tiles) // columns) for section in sections]
    width = 2 * MARGIN + columns * (SIZE + GAP) - GAP
    height = HEADER + sum(rows) * row + len(sections) * HEADING + MARGIN - GAP
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    _write(draw, (MARGIN, 32), title, color=INK, size=26, space=width - 2 * MARGIN)
    top = HEADER
    for section, count in zip(sections, rows, strict=True):
        _write(draw, (MARGIN, top), section.heading, color=FAINT, size=16, space=width - 2 * MARGIN)
        top += HEADING
        for place, tile in enumerate(section.tiles):
            left = MARGIN + place % columns * (SIZE + GAP)
            _draw_tile(sheet, draw, tile, left, top + place // columns * row)
        top += count * row
    return sheet


def _draw_tile(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, tile: Tile, left: int, top: int
) -> None:
    frame = 1 if tile.color == PLAIN else 4
    box = (left, top, left + SIZE - 1, top + SIZE - 1)
    draw.rectangle(box, TILE, tile.color, frame)
    space = SIZE - 2 * frame
    if isinstance(tile.content, bytes):
        image = fitted(tile.content, space)
        if image is None:
            _write_middle(draw, left, top, "not an image that Pillow reads")
        else:
            x, y = left + (SIZE - image.width) // 2, top + (SIZE - image.height) // 2
            sheet.paste(image, (x, y))
    elif isinstance(tile.content, str):
        _write_text(draw, left + 12, top + 12, tile.content)
    else:
        _write_middle(draw, left, top, "no image kept")
    for number, (text, color, size) in enumerate(_lines(tile)):
        place = (left, top + SIZE + 6 + number * LINE)
        _write(draw, place, text, color=color, size=size, space=SIZE)


def _lines(tile: Tile) -> list[tuple[str, str, int]]:
    """The lines below a tile: text, color, size."""
    caption, font = tile.caption, _font(tile.caption, 15)
    first = len(caption)
    while first > 1 and font.getlength(caption[:first]) > SIZE:
        first -= 1
    if first < len(caption):  # rather after a separator than in a word
        first = max(caption.rfind(each, first // 2, first) + 1 for each in "/ -_.") or first
    color = FAINT if tile.color == PLAIN else tile.color
    lines = [
        (caption[:first], INK, 15),
        (caption[first:], INK, 15),
        (tile.note, color, 14),
        (tile.more, FAINT, 14),
    ]
    return [line for line in lines if line[0]]


def _write(
    draw: ImageDraw.ImageDraw,
    place: tuple[int, int],
    text: str,
    *,
    color: str,
    size: int,
    space: int,
) -> None:
    """Write one line, shortened in the middle until it fits into `space` pixels."""
    font = _font(text, size)
    draw.text(place, _shortened(text, font, space), color, font)


def _shortened(text: str, font: _Font, space: int) -> str:
    text = text[:400]
    shown, kept = text, len(text)
    while kept > 1 and font.getlength(shown) > space:
        kept -= 1
        tail = kept * 2 // 3  # the end of a path says more than its beginning
        shown = f"{text[: kept - tail]}…{text[len(text) - tail :]}"
    return shown


def _write_middle(draw: ImageDraw.ImageDraw, left: int, top: int, text: str) -> None:
    middle = (left + SIZE // 2, top + SIZE // 2)
    draw.text(middle, text, FAINT, _font(text, 13), anchor="mm")


def _write_text(draw: ImageDraw.ImageDraw, left: int, top: int, text: str) -> None:
    """Write the beginning of a text, as many lines as fit into a tile."""
    text = " ".join(text[:2000].split())
    font, space = _font(text, 14), SIZE - 24
    lines, line = list[str](), ""
    for word in text.split(" "):
        longer = f"{line} {word}".strip()
        if line and font.getlength(longer) > space:
            lines.append(line)
            line = word
        else:
            line = longer
    lines.append(line)
    fit = space // TEXT_LINE
    if len(lines) > fit:
        lines = [*lines[: fit - 1], f"{lines[fit - 1]}…"]
    for number, each in enumerate(lines):
        draw.text((left, top + number * TEXT_LINE), _shortened(each, font, space), INK, font)


_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def _font(text: str, size: int) -> _Font:
    """Pillow's own font; for letters that it does not have, one of the system's, if it has any."""
    if any(each.isalpha() and ord(each) > LAST_LATIN for each in text):
        for name in ("NotoSansCJK-Regular.ttc", "NotoSans-Regular.ttf", "DejaVuSans.ttf"):
            try:
                return ImageFont.truetype(name, size)
            except OSError:
                continue
    return ImageFont.load_default(size=size)
