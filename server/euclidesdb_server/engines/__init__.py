"""Search engines: each finds nearest rows in one immutable matrix, and knows nothing else.

An engine never sees ids, updates, deletes or locks: `spaces` adds those around it. One
file per engine; the library it rests on is imported there and nowhere else. Other
packages register theirs under the entry-point group `euclidesdb.engines` (`registry.py`).
"""

from euclidesdb_server.engines.protocol import SearchEngine, Segment

__all__ = ["SearchEngine", "Segment"]
