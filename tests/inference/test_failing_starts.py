"""A process that cannot be started leaves nothing behind: the start is repeated, maybe for days."""

from __future__ import annotations

import sys

import psutil
import pytest

from euclidesdb_server.engines.exact import ExactEngine
from euclidesdb_server.inference.input_kinds import ImageConf
from euclidesdb_server.inference.model_folder import ModelFolder
from euclidesdb_server.inference.shared_worker import SharedWorkers
from euclidesdb_server.inference.worker_process import WorkerProcess


@pytest.mark.parametrize("worker", ["", "both"], ids=["its own", "shared"])
def test_a_worker_that_cannot_be_started_keeps_no_descriptor(tmp_path, monkeypatch, worker):
    conf = ImageConf(name="m", filename="program.pt", feature_dim=4, worker=worker)
    folder = ModelFolder(conf, tmp_path / "program.pt", "fingerprint", ExactEngine())
    shared = SharedWorkers()

    def start():
        with pytest.raises(FileNotFoundError) as failure:
            WorkerProcess(
                folder,
                lambda: False,
                threads=1,
                max_image_pixels=1,
                start_timeout=60.0,
                shared_workers=shared,
            )
        return failure

    monkeypatch.setattr(sys, "executable", str(tmp_path / "python that is gone"))
    held = [start()]
    before = psutil.Process().num_fds()
    held += [start() for _ in range(3)]
    assert psutil.Process().num_fds() == before
