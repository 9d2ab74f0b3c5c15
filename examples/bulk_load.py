"""Load many items: by columns, or one object per item, and see which were refused.

euclidesdb serve --models examples/models
python examples/bulk_load.py
"""

import argparse
from collections.abc import Iterator

import numpy as np

import euclidesdb


def items() -> Iterator[euclidesdb.NewItem]:
    """Items from a generator; every hundredth vector is too short."""
    for number in range(500):
        vector = np.full(63 if number % 100 == 99 else 64, number, np.float32)
        yield euclidesdb.NewItem(f"item-{number}", vectors={"vectors": vector})


def main() -> None:
    """Add 10,000 vectors by columns, then 500 items, five of which are refused."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--address", default="localhost:50000")
    options = parser.parse_args()
    rows = np.random.default_rng(0).standard_normal((10_000, 64), dtype=np.float32)

    with euclidesdb.Client(options.address) as db:
        refused = db.add_vectors([f"row-{n}" for n in range(len(rows))], rows, model="vectors")
        print(f"added {len(rows) - len(refused):,} vectors")
        for item in db.add_many(items()):
            print(f"refused {item.id}: {item.error}")


if __name__ == "__main__":
    main()
