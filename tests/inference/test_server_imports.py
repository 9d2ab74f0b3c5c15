"""Models run in workers: the server's own process stays free of what they need."""

import json
import subprocess
import sys
from pathlib import Path

from tests.support.images import encoded, noise

SERVER = """
import json, pathlib, sys
import euclidesdb
from tests.support.servers import start_server
data, models, image = (pathlib.Path(argument) for argument in sys.argv[1:])
with start_server(data, models) as server, euclidesdb.Client(server.address) as client:
    client.add("one", image=image.read_bytes(), models=["tiny"])
    found = client.find_similar(image=image.read_bytes(), model="tiny", top_k=1)
print(json.dumps({
    "found": [neighbor.id for neighbor in found["tiny"]],
    "imported": sorted({name.partition(".")[0] for name in sys.modules}),
}))
"""


def test_a_server_that_embedded_and_searched_has_imported_no_torch(tiny_models, tmp_path):
    image = tmp_path / "image.png"
    image.write_bytes(encoded(noise(1)))
    command = [sys.executable, "-c", SERVER, tmp_path / "data", tiny_models, image]
    finished = subprocess.run(
        command, stdout=subprocess.PIPE, timeout=100, check=True, cwd=Path(__file__).parents[2]
    )
    printed = json.loads(finished.stdout)
    assert printed["found"] == ["one"]
    assert "grpc" in printed["imported"]
    assert not {"torch", "torchvision", "PIL", "transformers"} & {*printed["imported"]}
