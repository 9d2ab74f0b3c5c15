"""The client program of docker/test.sh, run in a second container.

`fill` adds items to an empty server and searches it; `search` only searches. Both print the search
results, so that two runs can be compared byte by byte. The API key is in EUCLIDESDB_API_KEY; with
any other key, and with none, the server must refuse calls.
"""

from __future__ import annotations

import json
import sys
import warnings

import numpy as np
from PIL import Image, ImageDraw

import euclidesdb

COUNT = 20


def main(task: str, address: str) -> None:
    """Add the items if `task` is `fill`, then search. Raises if a result is wrong."""
    _check_refusals(address)
    images = {f"image-{number}": _image(number) for number in range(COUNT)}
    with euclidesdb.Client(address) as client:
        if task == "fill":
            for name, image in images.items():
                client.add(name, image=image, models=["digits"], attributes={"name": name})
        results = {name: _nearest(client, image) for name, image in images.items()}
    json.dump(results, sys.stdout, indent=1)
    for name, neighbors in results.items():
        itself = [item[0] == name and item[2] == {"name": name} for item in neighbors]
        if itself != [True, False, False, False, False] or neighbors[0][1] > 1e-3:
            raise RuntimeError(f"wrong 5 nearest neighbors of {name}: {neighbors}")


def _check_refusals(address: str) -> None:
    warnings.simplefilter("ignore", euclidesdb.UnencryptedKeyWarning)  # on a network of our own
    wrong = f"euclidesdb_{'0' * 8}_{'A' * 43}"
    for key in ("", wrong):
        with euclidesdb.Client(address, api_key=key) as client:
            try:
                client.models()
            except euclidesdb.Unauthenticated:
                continue
        raise RuntimeError(f"the server answers a call with the key {key!r}")


def _nearest(client: euclidesdb.Client, image: Image.Image) -> list[tuple[str, float, object]]:
    found = client.find_similar(image=image, model="digits", top_k=5, include_attributes=True)
    return [(item.id, item.distance, item.attributes) for item in found["digits"]]


def _image(number: int) -> Image.Image:
    """A digit-like scribble, white on black; the model gives each different features."""
    points = np.random.default_rng(number).integers(20, 108, size=(4, 2))
    image = Image.new("L", (128, 128))
    ImageDraw.Draw(image).line([(int(x), int(y)) for x, y in points], fill=255, width=14)
    return image


if __name__ == "__main__":
    main(*sys.argv[1:])
