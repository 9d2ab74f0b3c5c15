"""The client is thin."""

import json
import os
import subprocess
import sys

HEAVY = {"PIL", "annoy", "euclidesdb_server", "faiss", "plyvel", "torch", "transformers"}


def test_importing_the_client_loads_no_model_index_or_image_library():
    program = "import euclidesdb, json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert {"euclidesdb", "grpc", "numpy"} <= loaded
    assert not loaded & HEAVY
