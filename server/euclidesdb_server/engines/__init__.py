"""Search engines: methods of nearest-neighbor search, one per file, behind one contract.

An engine builds a segment from a matrix of vectors, saves and loads it, and finds the rows nearest
to a query. `protocol.py` is the contract. Promises, for every engine: exactly min(k, allowed rows)
results, nearest first, and the same distance for the same pair of vectors (`distances.py`); an
approximate index may miss rows, but never misstates a distance.

An engine knows one immutable matrix. It does not know ids, updates, deletions or locks: `index`
adds those. The library that an engine is built on is imported in its file and nowhere else. Other
packages can register engines under the entry-point group `euclidesdb.engines` (`registry.py`).
"""

from euclidesdb_server.engines.protocol import SearchEngine, Segment

__all__ = ["SearchEngine", "Segment"]
