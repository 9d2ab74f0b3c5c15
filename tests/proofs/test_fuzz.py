"""Whatever the bytes, every call of both services ends with a defined status, and nothing dies.

Images are damaged files, tensors and texts are odd ones; messages have random values in their
fields, and then random changes of their bytes.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import grpc
import numpy as np
import psutil
import pytest
import torch
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from PIL import Image
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

import euclidesdb
from euclidesdb_protos.legacy import euclidesproto_pb2 as legacy
from euclidesdb_protos.v1 import database_pb2 as v1
from tests.support.images import encoded, noise
from tests.support.models import Tiny, save_model
from tests.support.processes import ServerProcess
from tests.support.servers import start_server
from tests.support.vector_spaces import save_vector_space

SERVICES = (
    v1.DESCRIPTOR.services_by_name["FeatureDatabase"],
    legacy.DESCRIPTOR.services_by_name["Similar"],
)
DEFINED = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.PERMISSION_DENIED,
}
STRINGS = (
    "",
    "image",
    "text",
    "tensor",
    "given",
    "a",
    "a" * 2000,
    "\0",
    "é",
    "{}",
    '{"a": 1}',
    "[",
)
NUMBERS = (0, 1, -1, 3, 255, 2**31 - 1, -(2**31))
BATCH = 100
"""Payloads in one call of AddItems."""
CONFIG = """
[server]
address = 127.0.0.1:0
search_engine = exact
allow_remote_shutdown = false
allow_model_changes = false
[models]
dir_path = {models}
[database]
db_path = {data}
sync = false
"""


class Sums(torch.nn.Module):
    """Features: the mean of the numbers, and their largest."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        flat = torch.nan_to_num(values.flatten(1)).clamp(-1e6, 1e6)
        return torch.stack([flat.mean(dim=1), flat.amax(dim=1)], dim=1)


class Counts(torch.nn.Module):
    """Features of a text: the number of its tokens, and their sum."""

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        shown = attention_mask.to(torch.float32)
        return torch.stack([shown.sum(dim=1), (input_ids * shown).sum(dim=1)], dim=1)


@dataclass(frozen=True)
class Fuzzed:
    """A server process with a model for each kind of input, all in one worker process.

    workers: its processes at first.
    """

    process: ServerProcess
    workers: set[psutil.Process]

    def check_unharmed(self) -> None:
        """It answers, in the same worker process."""
        with euclidesdb.Client(self.process.address(), timeout=60) as client:
            assert {model.state for model in client.models()} == {"ready"}
            client.add("well", vectors={"given": [1, 2]})
            found = client.find_similar(vector=[1, 2], model="given", top_k=1)
            assert found["given"].distances.tolist() == [0]
        running = {each for each in self.workers if each.is_running()}
        assert running == self.workers
        assert len(self.process.workers()) == len(self.workers), "a worker has leaked"


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory) -> Iterator[Fuzzed]:
    folder = tmp_path_factory.mktemp("fuzzed")
    models = folder / "models"
    save_vector_space(models, "given", feature_dim=2)
    numbers = {"feature_dim": 2, "prediction_dim": 0}
    save_model(models, "image", module=Tiny(), worker="shared")
    save_model(
        models, "tensor", module=Sums(), input="tensor", input_shape="2, 3", worker="shared",
        **numbers,
    )  # fmt: skip
    target = save_model(
        models, "text", module=Counts(), input="text", tokenizer="tokenizer.json", worker="shared",
        **numbers,
    )  # fmt: skip
    save_tokenizer(target / "tokenizer.json")
    conf = folder / "euclidesdb.conf"
    conf.write_text(CONFIG.format(models=models, data=folder / "data"))
    with ServerProcess("-c", conf, log=folder / "log") as process:
        process.address()
        yield Fuzzed(process, {*process.workers()})
    assert "Traceback" not in (folder / "log").read_text()


def save_tokenizer(file: Path) -> None:
    words = {"[UNK]": 0, "[PAD]": 1, "good": 2, "bad": 3}
    tokenizer = Tokenizer(WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.enable_padding(pad_id=1, pad_token="[PAD]")
    tokenizer.save(str(file))


def damaged(data: bytes, chance: random.Random) -> bytes:
    """The bytes with a few changes: bits, numbers, parts that are lost, repeated or random."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(changed) + 1)
        length = int(2 ** chance.uniform(0, 6))
        match chance.randrange(6):
            case 0 if place < len(changed):
                changed[place] ^= 1 << chance.randrange(8)
            case 1 if place < len(changed):
                changed[place] = chance.choice((0, 1, 127, 128, 255))
            case 2:
                del changed[place : place + length]
            case 3:
                changed[place:place] = changed[place : place + length]
            case 4:
                changed[place:place] = chance.randbytes(length)
            case 5 if chance.random() < 0.2:
                del changed[place:]
    return bytes(changed)


def image_file(chance: random.Random) -> bytes:
    mode, kind = chance.choice(
        (("RGB", "PNG"), ("L", "PNG"), ("RGB", "JPEG"), ("RGB", "BMP"), ("RGB", "GIF"),
         ("RGB", "TIFF"), ("RGB", "WEBP"), ("L", "TIFF"), ("RGBA", "PNG"), ("RGB", "AVIF"),
         ("RGB", "JPEG2000"), ("RGB", "PPM"), ("RGBA", "ICO"), ("I", "TIFF"), ("F", "TIFF"),
         ("I;16", "PNG"))
    )  # fmt: skip
    if mode in ("I", "F", "I;16"):
        dtype = {"I": np.int32, "F": np.float32, "I;16": np.uint16}[mode]
        values = np.arange(64).reshape(8, 8) + chance.randrange(100)
        return encoded(Image.fromarray(values.astype(dtype)), kind)
    return encoded(noise(chance.randrange(100), size=16, mode=mode), kind)


def image(chance: random.Random) -> v1.Payload:
    return v1.Payload(image=damaged(image_file(chance), chance))


def tensor(chance: random.Random) -> v1.Payload:
    """Often of the right length."""
    data_type: Any = chance.choice((1, 1, 1, *v1.DataType.values(), 77))
    shape = chance.choice(((2, 3), (2, 3), (2, 3), (3, 2), (6,), (), (2, -3), (2**40, 2**40), (0,)))
    length = chance.choice((24, 24, 24, 6, 48))
    return v1.Payload(
        tensor=v1.Array(data_type=data_type, shape=shape, data=chance.randbytes(length))
    )


def text(chance: random.Random) -> v1.Payload:
    words = chance.choices(("good", "bad", "ugly", " ", "\t", "é", "語", "\0", "😀"), k=20)
    data = " ".join(words).encode()
    return v1.Payload(text=damaged(data, chance).decode(errors="replace"))


PAYLOADS: dict[str, Callable[[random.Random], v1.Payload]] = {
    "image": image,
    "tensor": tensor,
    "text": text,
}


@pytest.mark.parametrize(
    ("kind", "count"),
    [
        *((kind, 500) for kind in PAYLOADS),
        *(pytest.param(kind, 250_000, marks=pytest.mark.long) for kind in PAYLOADS),
    ],
)
@pytest.mark.timeout(0)
def test_a_damaged_payload_is_embedded_or_refused_alone(fuzzed, kind, count):
    chance = random.Random(kind)
    outcomes: Counter[str] = Counter()
    with grpc.insecure_channel(fuzzed.process.address()) as channel:
        add = channel.unary_unary("/euclidesdb.v1.FeatureDatabase/AddItems")
        for _ in range(count // BATCH):
            items = [
                v1.AddItemRequest(
                    id=f"{kind} {number}",
                    models=[kind],
                    payload=PAYLOADS[kind](chance),
                )
                for number in range(BATCH)
            ]
            request = v1.AddItemsRequest(items=items)
            reply = v1.AddItemsReply.FromString(add(request.SerializeToString(), timeout=300))
            outcomes["added"] += BATCH - len(reply.refused)
            outcomes.update(refused.reason for refused in reply.refused)
    print(kind, dict(outcomes))
    assert {*outcomes} <= {"added", "undecodable_input", "invalid_request"}
    assert min(outcomes.values()) > 0
    fuzzed.check_unharmed()


def random_message(kind: type[Message], chance: random.Random, depth: int = 0) -> Message:
    """A message whose fields are unset or have odd values."""
    message = kind()
    for field in message.DESCRIPTOR.fields:
        if chance.random() < 0.3:
            continue
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            value = field.message_type.fields_by_name["value"]
            entry = getattr(message, field.name)[chance.choice(STRINGS)]
            entry.CopyFrom(random_value(value, chance, depth))
        elif field.is_repeated:
            values = [random_value(field, chance, depth) for _ in range(chance.choice((1, 2, 9)))]
            getattr(message, field.name).extend(values)
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            getattr(message, field.name).CopyFrom(random_value(field, chance, depth))
        else:
            setattr(message, field.name, random_value(field, chance, depth))
    return message


def random_value(field: Any, chance: random.Random, depth: int) -> Any:
    match field.type:
        case FieldDescriptor.TYPE_MESSAGE:
            kind = GetMessageClass(field.message_type)
            return kind() if depth > 3 else random_message(kind, chance, depth + 1)
        case FieldDescriptor.TYPE_STRING:
            return chance.choice(STRINGS)
        case FieldDescriptor.TYPE_BYTES:
            return chance.choice((b"", image_file(chance), chance.randbytes(24)))
        case FieldDescriptor.TYPE_BOOL:
            return chance.random() < 0.5
        case FieldDescriptor.TYPE_FLOAT | FieldDescriptor.TYPE_DOUBLE:
            return chance.choice((0.0, 1.0, -1e30, float("nan"), float("inf")))
        case FieldDescriptor.TYPE_ENUM:
            return chance.choice(field.enum_type.values).number
        case FieldDescriptor.TYPE_UINT32:
            return chance.choice(NUMBERS) % (1 << 32)
        case _:
            return chance.choice(NUMBERS)


def status(call: Callable[..., Any], data: bytes) -> grpc.StatusCode:
    """How a call ends whose only request, or whose stream of requests, has that message."""
    try:
        for _ in call(iter([data]), timeout=300):
            pass
    except grpc.RpcError as error:
        return cast(grpc.Call, error).code()
    return grpc.StatusCode.OK


METHODS = [
    (f"/{service.full_name}/{method.name}", GetMessageClass(method.input_type))
    for service in SERVICES
    for method in service.methods
]


@pytest.mark.parametrize("count", [50, pytest.param(20_000, marks=pytest.mark.long)])
@pytest.mark.timeout(0)
def test_every_call_with_any_message_ends_with_a_defined_status(fuzzed, count):
    check_statuses(fuzzed.process.address(), METHODS, count)
    fuzzed.check_unharmed()


@pytest.mark.parametrize("count", [50, pytest.param(20_000, marks=pytest.mark.long)])
@pytest.mark.timeout(0)
def test_any_message_that_changes_models_ends_with_a_defined_status(tmp_path, count):
    changes = [each for each in METHODS if each[0].endswith("Model") or "Version" in each[0]]
    assert len(changes) == 3
    for name in ("given", "a"):
        save_vector_space(tmp_path / "models", name, feature_dim=2)
    with (
        start_server(tmp_path / "data", tmp_path / "models") as server,
        euclidesdb.Client(server.address) as client,
    ):
        check_statuses(server.address, changes, count)
        client.load_model("given")
        client.add("well", vectors={"given": [1, 2]})


def check_statuses(address: str, methods: list[tuple[str, type[Message]]], count: int) -> None:
    """Send as many messages of each method."""
    statuses: Counter[str] = Counter()
    with grpc.insecure_channel(address) as channel:
        for path, kind in methods:
            chance = random.Random(path)
            call = channel.stream_stream(path)  # on the wire, as any other kind of call
            for number in range(count):
                data = random_message(kind, chance).SerializeToString()
                if number % 2:
                    data = damaged(data, chance)
                code = status(call, data)
                assert code in DEFINED, f"{path} of {data!r}: {code}"
                statuses[f"{re.sub('.*/', '', path)} {code.name}"] += 1
    print(dict(statuses))
