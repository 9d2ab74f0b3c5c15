"""Real sentences: those of Python's language reference, which is part of Python, by topic."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pydoc_data.topics import topics
from typing import Final

MAX_PER_TOPIC: Final = 25
PROSE: Final = re.compile(r"[A-Z][^\n]{30,280}?[a-z)\"][.](?=\s|$)")


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of the reference. id: topic and number. topic: "try", "string-methods", ..."""

    id: str
    topic: str
    text: str


def sentences() -> list[Sentence]:
    """The first sentence of each paragraph of prose, at most MAX_PER_TOPIC per topic."""
    found: list[Sentence] = []
    seen: set[str] = set()
    for topic, text in sorted(topics.items()):
        paragraphs = [" ".join(piece.split()) for piece in textwrap.dedent(text).split("\n\n")]
        prose = dict.fromkeys(match[0] for each in paragraphs if (match := PROSE.match(each)))
        new = [each for each in prose if each not in seen][:MAX_PER_TOPIC]
        seen.update(new)
        found += [Sentence(f"{topic}-{n}", topic, each) for n, each in enumerate(new)]
    return found
