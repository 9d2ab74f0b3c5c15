"""Role: what a caller may do."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Role(StrEnum):
    """Each role may do what those before it may, too."""

    READ = "read"
    """Get, list, count, search, export; list models."""
    WRITE = "write"
    """Add, update, import and remove items."""
    ADMIN = "admin"
    """Load, unload and drop models; stop the server."""

    def may(self, required: Role) -> bool:
        """Whether a caller of this role may make a call that requires `required`."""
        return _RANK[self] >= _RANK[required]


_RANK: Final = {role: rank for rank, role in enumerate(Role)}
