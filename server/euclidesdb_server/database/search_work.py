"""SearchWork: what one search call costs, and when it ends.

The cost of a search is the number of comparisons: of a query with a row. A call is refused if it
needs more than the server permits, or if its reply would be larger than the server permits. It ends
at the next check once its caller has left or its deadline has passed. So that a check is never far
away, many queries are searched in blocks.

Knows neither spaces nor engines.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Final

from euclidesdb_server.database.requests import Call
from euclidesdb_server.errors import DeadlineExceeded, InvalidRequest, ReplyTooLarge

NO_LIMIT: Final = 1 << 62
BLOCK_PRODUCTS: Final = 1 << 32
"""Products of two numbers in a block of queries: 0.1 to 0.2 s of an exact search on one core."""
PAIR_PRODUCTS: Final = 64
"""What a comparison costs in addition to the products of its numbers: 3 ns with vectors of 32, 6 ns
with 128."""
MIN_QUERIES: Final = 64
"""In a block, however many rows there are: an exact search compares a block of rows with all of
them at once. 1,000,000 rows of 128 on one core: 6 ms a query with 64 or more of them, 8 ms with 32,
14 ms with 16, 45 ms with one."""


class SearchWork:
    """The work of one call. For one thread.

    reply_bytes: of ids and of what else the reply has so far. block_products: the most products in
    a block, unless it has no more than MIN_QUERIES queries.
    """

    def __init__(
        self,
        call: Call,
        max_comparisons: int,
        *,
        max_reply_bytes: int = NO_LIMIT,
        block_products: int = BLOCK_PRODUCTS,
    ) -> None:
        self.reply_bytes = 0
        self._call = call
        self._max_reply_bytes = max_reply_bytes
        self._max_comparisons = max_comparisons
        self._block_products = block_products
        self._comparisons = 0

    def add(self, queries: int, rows: int) -> None:
        """Count the comparisons of queries with `rows` rows each, before they are made.

        Raises InvalidRequest if that is more than one call may need in all.
        """
        self._comparisons += queries * rows
        if self._comparisons > self._max_comparisons:
            raise InvalidRequest(
                f"the search needs {self._comparisons:,} comparisons or more (now {queries:,} "
                f"queries with {rows:,} rows each); [server] max_comparisons permits "
                f"{self._max_comparisons:,} in one call: split the queries into several calls"
            )

    def add_to_reply(self, size: int) -> None:
        """Count bytes of the reply, before more of it is read.

        Raises ReplyTooLarge if that is more than one reply may have.
        """
        self.reply_bytes += size
        if self.reply_bytes > self._max_reply_bytes:
            raise ReplyTooLarge(
                f"the answer has {self.reply_bytes:,} bytes of ids and what else was requested, or "
                f"more; [server] max_reply_bytes permits {self._max_reply_bytes:,} in one reply: "
                "ask for fewer neighbors (top_k), queries or models in one call, or for ids alone, "
                "and get the items one by one"
            )

    def check(self) -> None:
        """Raise DeadlineExceeded if the caller waits no longer."""
        if not self._call.is_active():
            raise DeadlineExceeded("the caller left, or its deadline passed, during the search")

    def blocks(self, queries: int, rows: int, dim: int) -> Iterator[slice]:
        """The parts in which to search queries of `dim` numbers, each compared with `rows` rows.

        They are equally large (but for one query) and, unless it is the only one, none is smaller
        than MIN_QUERIES: libraries compute a few queries in another way than many, which could
        change the last digit.

        Raises DeadlineExceeded before a block if the caller waits no longer.
        """
        if queries < 2 * MIN_QUERIES:
            self.check()
            yield slice(0, queries)
            return
        products = rows * (dim + PAIR_PRODUCTS)
        wanted = -(-queries * products // self._block_products)
        count = max(1, min(wanted, queries // MIN_QUERIES))
        bounds = [queries * block // count for block in range(count + 1)]
        for start, stop in pairwise(bounds):
            self.check()
            yield slice(start, stop)


def text_bytes(text: str) -> int:
    """The length of a text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def texts_bytes(texts: Iterable[str]) -> int:
    """The length of many texts together in UTF-8."""
    return text_bytes("".join(texts))
