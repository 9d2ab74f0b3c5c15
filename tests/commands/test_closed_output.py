"""A command whose reader has read enough, as `head` does, ends without a traceback."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.support.servers import start_server
from tests.support.vector_spaces import save_vector_space


def test_a_command_whose_output_is_not_read_ends_quietly(tmp_path):
    save_vector_space(tmp_path / "models", feature_dim=2)
    reader, writer = os.pipe()
    os.close(reader)
    with start_server(tmp_path / "data", tmp_path / "models") as server:
        ended = subprocess.run(
            [sys.executable, "-m", "euclidesdb_server", "models", "--address", server.address],
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            timeout=100,
            check=False,
        )
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (1, "")
