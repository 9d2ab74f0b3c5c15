"""Something that is done in the middle of a rewrite of segments, in the same thread."""

from __future__ import annotations

import threading
from collections.abc import Callable


class ActionDuringRewrite(threading.Event):
    """An event that cancels nothing: a rewrite asks for it when it has written its rows.

    The first who asks waits until something has been done.
    """

    def __init__(self, do: Callable[[], None]) -> None:
        super().__init__()
        self._todo = [do]

    @property
    def is_done(self) -> bool:
        return not self._todo

    def is_set(self) -> bool:
        while self._todo:
            self._todo.pop()()
        return False
