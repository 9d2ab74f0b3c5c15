"""The files of blocks: Arrow's IPC format, mapped into memory, accepted by their checksum."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Final

import pyarrow as pa

from euclidesdb_server.columns.block import Block
from euclidesdb_server.errors import disk_error
from euclidesdb_server.store import ColumnsFile
from euclidesdb_server.system.file_sums import file_sum
from euclidesdb_server.system.fsync import make_folder, sync

log = logging.getLogger(__name__)

SUFFIX: Final = ".arrow"


class BlockFiles:
    """The files of blocks in a folder; each is named for its generation, a number given once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, block: Block, generation: int) -> ColumnsFile:
        """Write a block, synced. Raises DiskFull, StorageError."""
        file = self._file(generation)
        making = file.with_suffix(".tmp")
        try:
            make_folder(self._folder)
            with (
                pa.OSFile(str(making), "wb") as stream,
                pa.ipc.new_file(stream, block.batch.schema) as writer,
            ):
                writer.write_batch(block.batch)
            sync(making)
            found = file_sum(making)
            making.rename(file)
            sync(self._folder)
        except OSError as error:
            with suppress(OSError):
                making.unlink(missing_ok=True)
            raise disk_error(error, "writing columns of items") from error
        return ColumnsFile(generation, found.crc32)

    def open(self, record: ColumnsFile, stop: threading.Event) -> Block | None:
        """The block in a file; None if it is missing or damaged. Raises ShuttingDown."""
        file = self._file(record.generation)
        try:
            if file_sum(file, stop).crc32 != record.checksum:
                raise ValueError("its checksum is wrong")
            return self.mapped(record.generation)
        except (OSError, ValueError, pa.ArrowException) as error:
            log.warning("%s is made again from the store: %s", file, error)
            return None

    def mapped(self, generation: int) -> Block:
        """The block in a file that was just written or checked."""
        reader = pa.ipc.open_file(pa.memory_map(str(self._file(generation))))
        return Block(reader.get_batch(0))

    def delete_others(self, generations: Collection[int]) -> None:
        """Delete all files but those of some generations. What cannot be deleted stays."""
        kept = {self._file(generation).name for generation in generations}
        with suppress(OSError):
            for file in self._folder.iterdir():
                if file.name not in kept:
                    with suppress(OSError):
                        file.unlink()

    def _file(self, generation: int) -> Path:
        return self._folder / f"{generation}{SUFFIX}"
