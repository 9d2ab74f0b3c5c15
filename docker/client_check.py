"""What docker/test.sh has a second container do: `fill` a fresh server, or `ask` a filled one.

Either way it prints what the server answers, so that two runs can be compared byte by byte.
"""

from __future__ import annotations

import json
import sys

import numpy as np
from PIL import Image, ImageDraw

import euclidesdb

COUNT = 20


def main(task: str, address: str) -> None:
    """Fill the server if told to, then ask it. Raises where an answer cannot be right."""
    images = {f"image-{number}": _image(number) for number in range(COUNT)}
    with euclidesdb.Client(address) as client:
        if task == "fill":
            for name, image in images.items():
                client.add(name, image=image, models=["digits"], attributes={"name": name})
        answers = {name: _nearest(client, image) for name, image in images.items()}
    json.dump(answers, sys.stdout, indent=1)
    for name, answer in answers.items():
        itself = [item[0] == name and item[2] == {"name": name} for item in answer]
        if itself != [True, False, False, False, False] or answer[0][1] > 1e-3:
            raise RuntimeError(f"asked for the 5 nearest of {name}, the server said {answer}")


def _nearest(client: euclidesdb.Client, image: Image.Image) -> list[tuple[str, float, object]]:
    found = client.find_similar(image=image, model="digits", top_k=5, include_attributes=True)
    return [(item.id, item.distance, item.attributes) for item in found["digits"]]


def _image(number: int) -> Image.Image:
    """A digit-like scrawl, white on black: the model finds no two of them alike."""
    points = np.random.default_rng(number).integers(20, 108, size=(4, 2))
    image = Image.new("L", (128, 128))
    ImageDraw.Draw(image).line([(int(x), int(y)) for x, y in points], fill=255, width=14)
    return image


if __name__ == "__main__":
    main(*sys.argv[1:])
