"""The words that the project does not use: each has a plainer one, or the field's own term.

A phrase is found in code, too (`stale_rows`, `StaleRows`), and across the lines of a paragraph.
Spelling, American or otherwise, is codespell's part; a few words that it misses are here.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

from tests.project.tree import written_texts

# A regular expression for whole words -> what to write instead. Case is ignored.
BANNED = {
    # terms of ours for which the field has a term
    r"bury|buries|buried|burial|burials": "delete, deleted row, tombstone",
    r"settled": "below the low watermark, published",
    r"fresh rows?": "unindexed rows",
    r"seal|seals|sealed|sealing|unsealed": "index, indexed rows, segment",
    r"stale": "superseded, outdated; the state version_mismatch",
    r"guests?": "attached model",
    r"give way|gives way|giving way|gave way": "lower the thread's priority",
    r"hang up|hangs up|hung up|hanging up": "shut down, close the connection",
    r"wishes": "options",
    r"pictures?": "image (the demo alone draws a picture)",
    r"patience|patiently|impatient": "timeout, deadline, grace period",
    r"mad": "faulty; a protocol violation",
    r"(?-i:MOST|LONGEST|FEWEST)": "MAX or MIN in a constant's name",
    # negations in which the subject comes last
    r"(?<!there )(?:is|are|was|were) no(?! longer| more| less| fewer| later| earlier)": (
        "is not a, has no, there is no; 'must not be NaN', 'is not valid JSON'"
    ),
    r"(?<!there )(?:is|are|was|were) (?-i:none)(?! of)": "is not one, there is none",
    r"(?<!['\"])nobody(?!['\"])": "no client, no thread, nothing",
    r"nothing more than": "only",
    # persons where there are only processes, threads and callers
    r"whoever": "any client that, the caller",
    r"who waits": "waiters, the waiting call",
    r"himself|herself": "itself, the caller",
    r"told(?! apart| from)": "given, passed, reported, expected, noted",
    r"said": "output, returned, reported, expected",
    r"good manners": "the conventions that are meant",
    r"please": "the limit alone: 'the limit is 100,000'",
    # turns of phrase
    r"beside": "next to, in addition to, as well as",
    r"in vain": "without success",
    r"for good": "permanently",
    r"at last": "finally, in the end",
    r"comes of": "results from",
    r"as (?:it|they) stands?": "as it is, unchanged",
    r"makes sense": "is useful, is meaningful",
    r"turn about": "alternately",
    r"lets? go of": "release",
    # British words that are not misspelled, and so pass codespell
    r"ageing|fibre|offence|travelled|unlabelled": "aging, fiber, offense, traveled, unlabeled",
    r"amidst|amongst|towards|whilst": "amid, among, toward, while",
    r"burnt|dreamt|learnt|leant|spelt": "burned, dreamed, learned, leaned, spelled",
}

# Why a file may use a word nevertheless, by the start of its path.
ALLOWED = {
    ("tests/project/test_words.py", ""): "the list itself",
    ("CHANGELOG.md", ""): "names what was renamed",
    ("server/euclidesdb_server/demo/", "picture"): "the demo draws one",
    ("server/euclidesdb_server/commands/find", "picture"): "euclidesdb find draws one",
    ("docs/commands.md", "picture"): "euclidesdb find draws one",
    ("README.md", "picture"): "euclidesdb find draws one",
    ("tests/commands/test_find", "picture"): "euclidesdb find draws one",
    ("tests/commands/test_command_line", "picture"): "euclidesdb find draws one",
    ("tests/commands/test_shell_completion", "picture"): "euclidesdb find draws one",
    ("tests/commands/test_every_command", "picture"): "euclidesdb find draws one",
    ("tests/demo/", "picture"): "the demo draws one",
    ("tests/client/typing/", "picture"): "an argument that does not exist",
    ("server/euclidesdb_server/demo/text_tour.py", "nobody"): "a user's question",
    ("server/euclidesdb_server/demo/text_tour.py", "whoever"): "a user's question",
    ("server/euclidesdb_server/store/leveldb", "is no"): "is_no_space_error: ENOSPC",
}

# One group for each entry of `BANNED`, in its order.
PATTERN = re.compile(rf"\b(?:{'|'.join(f'({banned})' for banned in BANNED)})\b", re.IGNORECASE)
INSTEAD = tuple(BANNED.values())


def findings(text: str) -> Iterator[tuple[int, str, str]]:
    """The number of the line, what was found there, and what to write instead."""
    lines = [_words(line) for line in text.splitlines()]
    starts = list(accumulate((len(line) + 1 for line in lines), initial=0))
    joined = " ".join(lines)
    for match in PATTERN.finditer(joined):
        assert match.lastindex is not None  # every alternative is a group
        yield bisect_right(starts, match.start()), match.group(), INSTEAD[match.lastindex - 1]


def _words(line: str) -> str:
    """A line without its indentation and comment mark, and with identifiers split into words.

    `is_none` stays one: it means None.
    """
    bare = re.sub(r"^\s*(?:#|//|\*|;|>)?\s*", "", line).rstrip()
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", re.sub("_(?!none)", " ", bare))


def is_allowed(path: Path, found: str) -> bool:
    return any(
        path.as_posix().startswith(start) and found.lower().startswith(word)
        for start, word in ALLOWED
    )


def test_no_banned_word_is_used():
    found = [
        f"{path}:{line}: {words!r}: write {instead}"
        for path, text in written_texts().items()
        for line, words, instead in findings(text)
        if not is_allowed(path, words)
    ]
    assert not found, f"{len(found)} banned words:\n" + "\n".join(found)


def test_words_are_found_in_prose_in_identifiers_and_across_lines():
    text = (
        "# What the model said is\n    # no number.\n"
        "stale_rows = StaleRows(MOST_ROWS)\n"
        "the most that there is no longer; there are no rows; x_is_none, x is None\n"
    )
    found = [(line, words) for line, words, _ in findings(text)]
    assert found == [(1, "said"), (1, "is no"), (3, "stale"), (3, "Stale"), (3, "MOST")]
