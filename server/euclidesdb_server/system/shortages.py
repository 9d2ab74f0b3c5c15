"""Recognizes the errors of a lack of memory, descriptors or threads, which may pass.

Libraries report it in many ways: Python raises MemoryError, the system calls ENOMEM, torch a
RuntimeError whose text says so.
"""

from __future__ import annotations

import errno
from typing import Final

ERROR_NUMBERS: Final = (errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EAGAIN)
PHRASES: Final = (
    "allocate memory",  # strerror(ENOMEM), also within the messages of torch and of the linker
    "out of memory",  # CUDA
    "not enough memory",  # torch's allocator
    "bad_alloc",  # C++
    "start new thread",  # Python
)


def lacks_memory(error: BaseException | None) -> bool:
    """Whether an error, or one that it was raised from, is a lack of memory or the like."""
    while error is not None:
        if isinstance(error, MemoryError):
            return True
        if isinstance(error, OSError) and error.errno in ERROR_NUMBERS:
            return True
        if any(phrase in str(error).lower() for phrase in PHRASES):
            return True
        error = error.__cause__ or error.__context__
    return False
