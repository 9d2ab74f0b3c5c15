"""Add images, let a model embed them, and search for similar ones.

    euclidesdb serve                       (serves the shipped model, digits)
    python examples/add_and_search.py

Requires scikit-learn and Pillow for the images: pip install 'euclidesdb[demo]'.
"""

import argparse

from PIL import Image
from sklearn.datasets import load_digits

import euclidesdb


def main() -> None:
    """Add 200 handwritten digits, then search with one that was not added."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--address", default="localhost:50000")
    options = parser.parse_args()
    data = load_digits()
    images = [Image.fromarray((16 * pixels).clip(0, 255).astype("uint8")) for pixels in data.images]

    with euclidesdb.Client(options.address) as db:
        for number, image in enumerate(images[:200]):
            attributes = {"class": int(data.target[number])}
            db.add(f"digit-{number}", image=image, models=["digits"], attributes=attributes)

        result = db.find_similar(
            image=images[1000], model="digits", top_k=5, include_attributes=True
        )
        print(f"The query is a {data.target[1000]}. Its nearest neighbors:")
        for neighbor in result["digits"]:
            print(f"  {neighbor.id:10} at {neighbor.distance:.3f}: {neighbor.attributes}")


if __name__ == "__main__":
    main()
