"""The log of a server: text for people, JSON for programs, on standard error and in a file.

What a message contains may come from clients: in text, control characters are escaped, so that no
id can begin a line of its own or color a terminal; JSON escapes them by itself.
"""

from __future__ import annotations

import logging
import re
import sys
from logging.handlers import RotatingFileHandler, WatchedFileHandler
from pathlib import Path
from types import TracebackType
from typing import Final, TypeAlias

from pythonjsonlogger.json import JsonFormatter

from euclidesdb_server.config.server import MIB, ServerConfig
from euclidesdb_server.config.watching import LogFormat
from euclidesdb_server.errors import StartupError

TEXT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_ExcInfo: TypeAlias = (
    tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class TextFormatter(logging.Formatter):
    """A line for each record, and the lines of a traceback."""

    def __init__(self) -> None:
        super().__init__(TEXT)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """The line, with control characters escaped."""
        record.message = escaped(record.message)
        line = super().formatMessage(record)
        request_id = getattr(record, "request_id", "")
        return f"{line} [{escaped(request_id)}]" if request_id else line

    def formatException(self, ei: _ExcInfo) -> str:  # noqa: N802
        """The lines of a traceback, escaped and indented: none looks like another record."""
        lines = super().formatException(ei).split("\n")
        return "\n".join(f"  {escaped(line)}" for line in lines)


class _Json(JsonFormatter):
    """An object for each record: time, level, logger, message, and what else the record has."""

    def __init__(self) -> None:
        super().__init__(
            ["levelname", "name", "message"],
            rename_fields={"levelname": "level", "name": "logger", "exc_info": "traceback"},
            timestamp="time",
            json_ensure_ascii=True,
        )


class LogFile(RotatingFileHandler, WatchedFileHandler):
    """A log file that is begun anew when it is full, or when another one is in its place.

    What cannot be written to it is reported on standard error, and never fails the code that logs.
    """

    def __init__(self, file: Path, config: ServerConfig) -> None:
        """Open a file; its folder is made. config: when it is full. Raises OSError."""
        file.parent.mkdir(parents=True, exist_ok=True)
        RotatingFileHandler.__init__(
            self,
            file,
            maxBytes=config.log_max_mib * MIB,
            backupCount=config.log_files,
            encoding="utf-8",
            errors="backslashreplace",  # names of files may have bytes of any encoding
        )
        self.dev, self.ino = -1, -1
        self._statstream()

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        try:
            self.reopenIfNeeded()
            RotatingFileHandler.emit(self, record)
        except Exception:  # a handler must not raise
            self.handleError(record)

    def doRollover(self) -> None:  # noqa: N802
        """Rename the files, and begin another one."""
        super().doRollover()
        if self.stream is not None:
            self._statstream()


def configure_logging(config: ServerConfig, where: str) -> None:
    """where: where the path of the log file comes from, for an error. Raises StartupError."""
    to_stderr = logging.StreamHandler()
    to_stderr.setFormatter(_formatter(config.log_format, is_terminal=sys.stderr.isatty()))
    handlers: list[logging.Handler] = [to_stderr]
    if config.log_file_path is not None:
        try:
            to_file = LogFile(config.log_file_path, config)
        except OSError as error:
            raise StartupError(f"{where}: cannot write {config.log_file_path}: {error}") from error
        to_file.setFormatter(_formatter(config.log_format, is_terminal=False))
        handlers.append(to_file)
    # it logs every CPU type that this machine does not have
    logging.getLogger("faiss.loader").setLevel(logging.WARNING)
    logging.basicConfig(level=logging.INFO, handlers=handlers)


def escaped(text: str) -> str:
    """`text` without control characters, so that it stays on its line."""
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


def _formatter(kind: LogFormat, *, is_terminal: bool) -> logging.Formatter:
    if kind is LogFormat.JSON or (kind is LogFormat.AUTO and not is_terminal):
        return _Json()
    return TextFormatter()
