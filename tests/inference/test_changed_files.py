"""Files of a model that change while it is served are not taken for its version."""

from __future__ import annotations

import threading

import psutil

from euclidesdb_server.config.server import ModelsConfig
from euclidesdb_server.inference import ModelRegistry
from euclidesdb_server.values.status import ModelState
from tests.support.models import save_model
from tests.support.waiting import wait_for


def test_a_program_that_changed_on_disk_is_not_run_under_the_old_version(tmp_path):
    folder = save_model(tmp_path, "changing")
    others = set(psutil.Process().children())
    registry = ModelRegistry(ModelsConfig(dir_path=tmp_path, worker_threads=1))
    try:
        registry.wait_until_tried(threading.Event())
        program = folder / "program.pt"
        program.write_bytes(program.read_bytes() + b"\0")
        (worker,) = set(psutil.Process().children()) - others
        worker.kill()
        model = registry.models["changing"]
        wait_for(lambda: model.state[0] is ModelState.QUARANTINED, "the refusal")
        assert "have changed since they were loaded: reload model 'changing'" in model.state[1]
    finally:
        registry.close()
