"""A worker imports the class of its model's input kind and no other."""

import json
import subprocess
import sys

import pytest

from euclidesdb_server.errors import ModelLoadError
from euclidesdb_server.worker.inputs import INPUT_CLASSES, make_input

TENSORS = """
import json, sys
from euclidesdb_server.worker.inputs import make_input
make_input({"input": "tensor", "input_dtype": "float32", "input_shape": ["3"]})
print(json.dumps([name for name in ("PIL", "tokenizers") if name in sys.modules]))
"""


def test_a_worker_for_tensors_imports_neither_pillow_nor_a_tokenizer():
    command = [sys.executable, "-W", "ignore", "-c", TENSORS]
    finished = subprocess.run(command, stdout=subprocess.PIPE, timeout=100, check=True)
    assert json.loads(finished.stdout) == []


@pytest.mark.parametrize(("kind", "package"), [("text", "tokenizers"), ("image", "PIL")])
def test_a_missing_package_is_named(monkeypatch, kind, package):
    module = INPUT_CLASSES[kind].partition(":")[0]
    monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModelLoadError) as caught:
        make_input({"input": kind})
    assert str(caught.value) == (
        f"input = {kind} needs the package {package}: pip install 'euclidesdb[server]'"
    )


def test_an_unknown_kind_is_named():
    with pytest.raises(ModelLoadError, match="unknown input 'sound': should be image or text or"):
        make_input({"input": "sound"})
