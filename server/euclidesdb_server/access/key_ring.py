"""KeyRing: the API keys of a running server, read again when their file changes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from euclidesdb_server.access.api_keys import ApiKey, KeySet
from euclidesdb_server.access.key_file import is_writable_by_others, read_keys
from euclidesdb_server.errors import ConfigError
from euclidesdb_server.system.file_watch import FileWatch

log = logging.getLogger(__name__)


class KeyRing:
    """The keys in a file. Threads may share it."""

    def __init__(self, file: Path, where: str, watch: FileWatch) -> None:
        """where: where the path comes from, as in `Config.where`. Raises ConfigError."""
        self._file = file
        self._changed: list[Callable[[], object]] = []
        watch.add([file], self.reload)  # before it is read
        try:
            self._keys = self._read()
        except FileNotFoundError as error:
            raise ConfigError(
                f"{where}: there is no file {file}. Make the first API key with: "
                f"euclidesdb key create NAME --role admin --keys-file {file}"
            ) from error
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from error
        if not len(self._keys):
            log.warning("%s has no API keys: every call that needs one is refused", file)

    def find(self, text: bytes) -> ApiKey | None:
        """The key that a call has sent; None if it is not accepted."""
        return self._keys.find(text)

    def on_change(self, changed: Callable[[], object]) -> None:
        """Call `changed` in another thread each time that the keys have been read again."""
        self._changed.append(changed)

    def reload(self) -> None:
        """Read the file again; the keys stay as they are, with an error in the log, if that fails.

        So a mistake in the file locks no caller out. To revoke keys, take them out of the file.
        """
        try:
            self._keys = self._read()
        except (ConfigError, OSError) as error:
            log.error("the API keys stay as they were: %s", error)
        else:
            log.info("the API keys have been read again: %d are accepted", len(self._keys))
            for changed in [*self._changed]:
                changed()

    def _read(self) -> KeySet:
        keys = KeySet(read_keys(self._file))
        if is_writable_by_others(self._file):
            log.warning(
                "other users may write to %s, and so give themselves keys: chmod 600", self._file
            )
        return keys
