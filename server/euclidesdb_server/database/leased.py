"""Leased: the servings that a call keeps usable until its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Self

from euclidesdb_server.database.serving import Serving
from euclidesdb_server.errors import DatabaseError


class Leased:
    """The servings that a call has leased, by name; leaving the `with` block gives them back.

    refusal: the error for an unknown name.
    """

    def __init__(
        self, servings: Mapping[str, Serving], refusal: Callable[[str], DatabaseError]
    ) -> None:
        self._servings = servings
        self._refusal = refusal

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        for serving in self._servings.values():
            serving.leases.release()

    def get(self, name: str) -> Serving:
        """The serving of a name. Raises what `ModelTable.resolve` raises for an unknown one."""
        serving = self._servings.get(name)
        if serving is None:
            raise self._refusal(name)
        return serving
