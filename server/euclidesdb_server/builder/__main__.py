"""`python -m euclidesdb_server.builder RESULTS PARENT`: started by `system/job_process.py` only.

The job comes on standard input, as one JSON object; each result goes to the descriptor RESULTS, as
one line of JSON, because libraries print to standard output.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from euclidesdb_server.system.child_process import (
    be_killed_first,
    end_only_with_the_parent,
    limit_memory,
)


def main() -> int:
    """Do the job, and report its results."""
    results, parent = map(int, sys.argv[1:])
    end_only_with_the_parent(parent)
    be_killed_first()
    job = json.load(sys.stdin)
    limit_memory(job["memory_mib"])
    # only after the signals are handled: the libraries of engines take their time to import
    if "trials" in job:
        from euclidesdb_server.builder.trial import try_all  # noqa: PLC0415

        for result in try_all(job):
            _report(results, result)
    else:
        from euclidesdb_server.builder.build import build  # noqa: PLC0415

        _report(results, build(job))
    return 0


def _report(results: int, result: dict[str, Any]) -> None:
    line = json.dumps(result).encode() + b"\n"
    while line:
        line = line[os.write(results, line) :]


if __name__ == "__main__":
    # skip the interpreter's shutdown: a library's threads can hang it and have nothing to save
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
