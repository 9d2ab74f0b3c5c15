"""What a notebook shows: small, static, and with nothing in it that came from items as markup."""

from __future__ import annotations

import io
import re
import sys
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from PIL import Image

import euclidesdb
from euclidesdb import Item, ItemList, LabelProbability, Neighbors, ValueCounts
from tests.support.images import encoded, noise

LIMIT = 300_000
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</div></td></table><iframe src=javascript:alert(1)>",
    "&lt;b&gt; <!-- \x1b[31m \u202e \ud800 \0 \n",
]


def neighbors(payloads, **columns):
    count = len(payloads)
    ids = tuple(f"photos/{row}.jpg" for row in range(count))
    given = {"ids": ids, "distances": np.arange(count, dtype=np.float32), **columns}
    return Neighbors("digits", "f00", "l2", payloads=payloads, **given)


class Page(HTMLParser):
    """The elements of a page, with their attributes, and its text; checks that they are paired."""

    def __init__(self, html):
        super().__init__()
        self.elements = []
        self.text = ""
        self._open = []
        self.feed(html)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag != "img":
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data

    @property
    def images(self):
        return [attributes for tag, attributes in self.elements if tag == "img"]


def checked(html):
    """A page, which is static and small."""
    assert len(html.encode()) < LIMIT
    page = Page(html)
    tags = {"div", "span", "b", "img", "table", "tr", "th", "td"}
    for tag, attributes in page.elements:
        assert tag in tags
        assert {*attributes} <= {"style", "title", "src", "alt"}
        assert "url(" not in attributes.get("style", "")
    for image in page.images:
        assert re.fullmatch(r"data:image/(png|jpeg);base64,[A-Za-z0-9+/=]+", image["src"])
    return page


def test_neighbors_show_the_images_that_were_requested():
    labels = ((LabelProbability("7", 0.93),),) * 2
    attributes = ({"brand": "acme"}, {})
    found = neighbors(
        (encoded(noise(0, 8)), encoded(noise(1, 300))), labels=labels, attributes=attributes
    )
    page = checked(found._repr_html_())
    assert len(page.images) == 2
    assert "pixelated" in page.images[0]["style"]
    assert "pixelated" not in page.images[1]["style"]
    for part in ("digits", "2 neighbors by l2 distance", "0.jpg", "7 93%", "brand: acme"):
        assert part in page.text


def test_without_payloads_they_are_a_table():
    found = Neighbors("digits", "f", "l2", ("a", "b"), np.zeros(2, np.float32), ({"x": 1}, {}))
    page = checked(found._repr_html_())
    assert not page.images
    assert [tag for tag, _ in page.elements].count("tr") == 3


def test_what_is_not_an_image_has_a_tile_too():
    payloads = (b"not an image", "a text", np.zeros((2, 3), np.float32), None)
    page = checked(neighbors(payloads)._repr_html_())
    assert not page.images
    for part in ("cannot be shown", "a text", "float32 tensor of shape (2, 3)", "nothing kept"):
        assert part in page.text


def big_noise(seed):
    """A photo that no format makes small."""
    pixels = np.random.default_rng(seed).integers(0, 256, (400, 500, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=95)
    return file.getvalue()


@pytest.mark.parametrize("count", [1, 12, 70])
def test_any_number_of_large_images_takes_less_than_300_kb(count):
    data = big_noise(0)
    page = checked(neighbors((data,) * count)._repr_html_())
    assert len(page.images) == min(count, 60)
    assert ("and 10 more" in page.text) == (count == 70)


def test_text_of_any_length_takes_less_than_300_kb():
    text = "\"'&<>\U0001f600" * 500
    attributes = ({f"{n}{text}": text for n in range(30)},) * 500
    found = neighbors((big_noise(1),) * 500, attributes=attributes, ids=(text,) * 500)
    checked(found._repr_html_())
    checked(neighbors((text,) * 500, attributes=attributes)._repr_html_())
    checked(Neighbors(text, "f", text, found.ids, found.distances, attributes)._repr_html_())
    items = ItemList(Item(text, attributes[0], b"", image=None, text=text) for _ in range(500))
    checked(items._repr_html_())
    counts = ValueCounts(tuple((f"{n}{text}", n) for n in range(500)), 3, 4)
    checked(euclidesdb.CountsByField({text: counts, "b": counts})._repr_html_())
    results = euclidesdb.Results({str(n): found for n in range(30)})
    checked(results._repr_html_())


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_nothing_from_items_is_markup(text):
    attributes = ({text: text, "b": [text]},)
    labels = ((LabelProbability(text, 0.5),),)
    columns: dict[str, Any] = {
        "ids": (text,),
        "attributes": attributes,
        "labels": labels,
        "groups": (text,),
    }
    distances = np.zeros(1, np.float32)
    fields: dict[str, Any] = {"distances": distances, **columns}
    shown = [
        neighbors((text,), **columns),
        neighbors((encoded(noise(0, 8)),), **columns),
        Neighbors(text, text, text, **fields),
        euclidesdb.Results({text: Neighbors(text, text, text, **fields)}),
        ItemList([Item(text, attributes[0], b"")]),
        ItemList([Item(text, attributes[0], b"", text=text)]),
        euclidesdb.Page((Item(text, attributes[0], b""),)),
        euclidesdb.CountsByField({text: ValueCounts(((text, 3),), 0, 0)}),
        Item(text, attributes[0], b"", image=b"broken"),
    ]
    for value in shown:
        page = checked(value._repr_html_())
        assert page.text.isprintable()
        assert "\x1b" not in repr(value)


def test_hostile_images_are_not_shown():
    bomb = io.BytesIO()
    Image.new("1", (12_000, 12_000)).save(bomb, "PNG")
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\nshowpage\n"
    half = encoded(noise(0, 300))[:500]
    page = checked(neighbors((bomb.getvalue(), postscript, half, b""))._repr_html_())
    assert not page.images


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "CMYK", "I;16", "F", "LA"])
def test_images_of_every_kind_are_shown(mode):
    file = io.BytesIO()
    image = Image.fromarray(np.arange(4096, dtype=np.uint16).reshape(64, 64))
    if mode != "I;16":
        image = noise(0, 64).convert("RGB" if mode in ("LA", "RGBA", "CMYK") else mode)
        image = image.convert("L").convert("LA") if mode == "LA" else image.convert(mode)
    image.save(file, "TIFF" if mode in ("F", "CMYK") else "PNG")
    assert len(checked(neighbors((file.getvalue(),))._repr_html_()).images) == 1


def test_without_pillow_it_says_what_to_install(monkeypatch):
    found = neighbors((encoded(noise(0, 8)),))
    monkeypatch.setitem(sys.modules, "PIL", None)
    page = checked(found._repr_html_())
    assert not page.images
    assert "pip install pillow" in page.text


def test_summaries_have_bars():
    counts = euclidesdb.CountsByField(color=ValueCounts((("red", 30), (True, 10)), 5, 1))
    numbers = euclidesdb.NumbersByField(price=euclidesdb.NumberSummary(2, 1, 3, 2, 1, 2))
    page = checked(euclidesdb.Summary(46, counts, numbers)._repr_html_())
    for part in ("46 items", "color", "red", "true", "(other values)", "(no value)", "price"):
        assert part in page.text
