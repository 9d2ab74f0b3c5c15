"""The error of the commands for backups."""

from __future__ import annotations


class BackupError(Exception):
    """What keeps a backup from being made, checked or restored; the message names the place."""
