"""The demo's picture: held-out digits, and the most similar digits in the database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont, ImageOps

from euclidesdb_server.demo.digits import Digit, decode_png

PAPER = "#faf9f6"
INK = "#22262b"
FAINT = "#747b84"
RULE = "#e3e1da"
SAME_CLASS = "#2e9e5b"
OTHER_CLASS = "#d5343b"

MARGIN = 40
HEADER = 142
DIGIT = 72
FRAME = 4
TILE = DIGIT + 2 * FRAME
FIRST_NEIGHBOR = MARGIN + TILE + 76
STEP = TILE + 44
ROW = 144
FOOTER = 20


@dataclass(frozen=True, slots=True)
class PictureRow:
    """A query and its neighbors with their distances, nearest first."""

    query: Digit
    neighbors: tuple[tuple[Digit, float], ...]


def draw_picture(rows: Sequence[PictureRow], *, title: str, subtitle: str) -> Image.Image:
    """Draw one row per query, in RGB: the query, then its neighbors, nearest first.

    A neighbor's frame is green if it has the query's class, else red.
    """
    columns = max(len(row.neighbors) for row in rows)
    width = FIRST_NEIGHBOR + (columns - 1) * STEP + TILE + MARGIN
    image = Image.new("RGB", (width, HEADER + len(rows) * ROW + FOOTER), PAPER)
    draw = ImageDraw.Draw(image)
    draw.text((MARGIN, 28), title, INK, ImageFont.load_default(size=25))
    draw.text((MARGIN, 66), subtitle, FAINT, ImageFont.load_default(size=15))
    headings = ImageFont.load_default(size=14)
    draw.text((MARGIN, HEADER - 28), "Query", INK, headings)
    draw.text(
        (FIRST_NEIGHBOR, HEADER - 28), "Nearest first, with class and distance", INK, headings
    )
    for index, row in enumerate(rows):
        top = HEADER + index * ROW
        draw.line((MARGIN, top, width - MARGIN - 1, top), RULE)
        _draw_tile(image, row.query, (MARGIN, top + 16), INK, str(row.query.label))
        for column, (digit, distance) in enumerate(row.neighbors):
            color = SAME_CLASS if digit.label == row.query.label else OTHER_CLASS
            left = FIRST_NEIGHBOR + column * STEP
            _draw_tile(image, digit, (left, top + 16), color, f"{digit.label}  at  {distance:.3f}")
    return image


def _draw_tile(
    image: Image.Image, digit: Digit, place: tuple[int, int], color: str, note: str
) -> None:
    """Draw a framed digit, and below it its id and a note in the frame's color."""
    left, top = place
    # Dark ink on light paper, as it was written; the data set is inverted.
    pixels = ImageOps.invert(Image.fromarray(decode_png(digit.png)))
    enlarged = pixels.resize((DIGIT, DIGIT), Image.Resampling.NEAREST).convert("RGB")
    draw = ImageDraw.Draw(image)
    draw.rectangle((left, top, left + TILE - 1, top + TILE - 1), color)
    image.paste(enlarged, (left + FRAME, top + FRAME))
    font = ImageFont.load_default(size=13)
    middle = left + TILE // 2
    draw.text((middle, top + TILE + 11), digit.id, FAINT, font, anchor="mm")
    draw.text((middle, top + TILE + 28), note, color, font, anchor="mm")
