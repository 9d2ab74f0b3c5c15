"""How a checkpoint compares vectors, as keys of model.conf for whichever engine searches them.

sentence-transformers declares it as `similarity_fn_name`; without it, it compares by cosine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True)
class Similarity:
    """A way to compare vectors.

    metric: its name for a person. sections: of the engines that implement it. search_engine: the
    one to use, if not all of the shipped engines do; else empty.
    """

    metric: str
    sections: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    search_engine: str = ""


UNDECLARED: Final = Similarity("")

UNIT_LENGTH: Final = Similarity("l2, cosine or inner product alike, since they have length 1")
"""Of vectors that the program normalizes."""

SIMILARITIES: Final[Mapping[str, Similarity]] = {
    "cosine": Similarity(
        "cosine",
        {
            "annoy": {"metric": "cosine"},
            "exact": {"metric": "cosine"},
            "exact_disk": {"pnorm": "2", "normalize": "true"},
            "faiss": {"metric": "cosine"},
        },
    ),
    "dot": Similarity(
        "inner product",
        {"exact": {"metric": "inner_product"}, "faiss": {"metric": "inner_product"}},
        search_engine="faiss",
    ),
    "euclidean": Similarity(
        "l2",
        {
            "annoy": {"metric": "l2"},
            "exact": {"metric": "l2"},
            "exact_disk": {"pnorm": "2", "normalize": "false"},
            "faiss": {"metric": "l2"},
        },
    ),
    "manhattan": Similarity(
        "the 1-norm",
        {"exact_disk": {"pnorm": "1", "normalize": "false"}},
        search_engine="exact_disk",
    ),
}
"""By the value of `similarity_fn_name`."""

DEFAULT: Final = "cosine"
"""Of sentence-transformers."""

AGREE_AT_LENGTH_1: Final = ("cosine", "dot", "euclidean")
