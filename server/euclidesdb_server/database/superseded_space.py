"""SupersededSpace: the space of an earlier version, opened when it is first searched.

Opening reads the rows of the space that are in no segment and takes memory, so a start does not
wait for versions that may never be asked for.

Nothing is added to a space before it is opened: only imports add to a former version, and they open
its space first. Items are removed and replaced at any time, and what the store has not shown to the
space when it was opened is passed on to it afterwards.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Final

from euclidesdb_server.errors import DatabaseError, ModelUnavailable, StartupError, UnknownModel
from euclidesdb_server.index import ModelSpace
from euclidesdb_server.store import SpaceRecord

WAIT_INTERVAL: Final = 0.1
"""Seconds between checks of a call that waits until another one has opened the space."""


class SupersededSpace:
    """Thread-safe. No call but `open` waits for the space to be opened.

    record: of the space. open_space: opens it.
    """

    def __init__(
        self,
        record: SpaceRecord,
        open_space: Callable[[], ModelSpace],
        opened: ModelSpace | None = None,
    ) -> None:
        """opened: the space, if it is open already."""
        self.record = record
        self._open_space = open_space
        self._opening = threading.Lock()
        self._lock = threading.Lock()
        self._space = opened
        self._deleted_meanwhile: list[int] | None = None
        self._dropped = False
        self._deletions = 0

    @classmethod
    def of(cls, space: ModelSpace) -> SupersededSpace:
        """A space that is open: the version has been in service until now."""
        return cls(space.record, lambda: space, space)

    @property
    def opened(self) -> ModelSpace | None:
        """The space; None if it is not open."""
        return self._space

    @property
    def deletions(self) -> int:
        """How often rows have been deleted: if it is the same as before, so are the rows."""
        return self._deletions

    def open(self, check: Callable[[], None] = lambda: None) -> ModelSpace:
        """The space, opened if it is not.

        check: called from time to time while another thread opens it; may raise to stop waiting.

        Raises UnknownModel if it has been dropped, ModelUnavailable if no engine can search it,
        StorageError; the next call then tries again.
        """
        if self._space is not None and not self._dropped:
            return self._space
        while not self._opening.acquire(timeout=WAIT_INTERVAL):
            check()
        try:
            return self._opened()
        finally:
            self._opening.release()

    @property
    def name(self) -> str:
        """The name under which it is served."""
        return superseded_name(self.record.model, self.record.fingerprint)

    def delete(self, labels: Iterable[int]) -> None:
        """As `ModelSpace.delete`, for rows that the store has deleted."""
        with self._lock:
            self._deletions += 1
            if self._space is not None:
                self._space.delete(labels)
            elif self._deleted_meanwhile is not None:
                self._deleted_meanwhile += labels

    def drop(self) -> None:
        """Open it no more: what is stored of it is about to be deleted. Does not wait."""
        with self._lock:
            self._dropped = True

    def wait_for_opening(self) -> None:
        """Wait until no thread is opening it."""
        with self._opening:
            pass

    def _opened(self) -> ModelSpace:
        with self._lock:
            self._check_not_dropped()
            if self._space is not None:
                return self._space
            self._deleted_meanwhile = deleted = list[int]()
        try:
            space = self._open_space()
            with self._lock:
                self._check_not_dropped()  # or rows may have been deleted before they were read
                space.delete(deleted)
                self._space = space
                return space
        except DatabaseError as error:
            self._check_not_dropped()
            if isinstance(error, StartupError):
                raise ModelUnavailable(f"{self.name!r} cannot be opened: {error}") from error
            raise
        finally:
            self._deleted_meanwhile = None

    def _check_not_dropped(self) -> None:
        if self._dropped:
            raise UnknownModel(f"version {self.name!r} has been dropped")


def superseded_name(model: str, fingerprint: str) -> str:
    """The name under which the space of an earlier version is served."""
    return f"{model}@{fingerprint}"
