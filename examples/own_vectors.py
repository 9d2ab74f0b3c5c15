"""Store vectors that you computed yourself, and search them. Requires only the client.

    euclidesdb serve --models examples/models
    python examples/own_vectors.py

examples/models/vectors/model.conf defines the space: its name, and the length of its vectors.
"""

import argparse

import numpy as np

import euclidesdb


def main() -> None:
    """Add three vectors one by one, then search by vector and by id."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--address", default="localhost:50000")
    options = parser.parse_args()
    vectors = np.random.default_rng(0).standard_normal((3, 64), dtype=np.float32)

    with euclidesdb.Client(options.address) as db:
        for name, vector in zip(("red", "green", "blue"), vectors, strict=True):
            db.add(name, vectors={"vectors": vector}, attributes={"color": name})

        found = db.find_similar(vector=vectors[1] + 0.01, model="vectors", top_k=1)["vectors"]
        print(f"nearest to the vector: {found.ids[0]} at {found.distances[0]:.3f}")
        for neighbor in db.find_similar(id="red", model="vectors", include_attributes=True)[
            "vectors"
        ]:
            print(f"similar to red: {neighbor.id} at {neighbor.distance:.3f} {neighbor.attributes}")


if __name__ == "__main__":
    main()
