"""Adding and searching items through their models, compared with the same models alone.

    python benchmarks/embedding.py [--seconds 5] [--only images digits texts lone mixed repeat]
                                   [--device cpu]

Each limit is measured in the same run, in a separate process, with the same program, threads and
items. Rates are measured in alternation with the server's, and medians are shown. Each item is sent
only once, as the server caches the outputs of recent payloads. Compare the ratios: absolute times
depend on the machine and on what else it is running.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from served_vectors import row
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, PreTrainedTokenizerFast

import euclidesdb
from euclidesdb_server.demo.digits import split_digits
from euclidesdb_server.demo.server_process import ServerProcess

ROOT = Path(__file__).resolve().parent.parent
THREADS = os.cpu_count() or 1
WORDS = 2000
ROUNDS = 3

RAW = """
import json, sys, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from euclidesdb_server.commands.programs import load_folder, program_folder
folder, items, threads, device, seconds, batch, decodes = sys.argv[1:]
threads, seconds, batch, decodes = int(threads), float(seconds), int(batch), int(decodes)
program = load_folder(program_folder(Path(folder)), device=device, threads=threads)
payloads = [file.read_bytes() for file in sorted(Path(items).iterdir())]
decode = program.inputs.decode
pool = ThreadPoolExecutor(threads)
decoded = list(pool.map(decode, payloads))
if program.inputs.groups(decoded)[1:]:
    decoded.sort(key=len)
    payloads.sort(key=lambda data: len(decode(data)))
batches = [slice(start, start + batch) for start in range(0, len(decoded) - batch + 1, batch)]
program.forward(decoded[batches[-1]])
took, done, end = [], 0, time.perf_counter() + seconds
while time.perf_counter() < end or not done:
    for part in batches:
        started = time.perf_counter()
        program.forward(list(pool.map(decode, payloads[part])) if decodes else decoded[part])
        took.append(time.perf_counter() - started)
        done += batch
print(json.dumps({"per_second": done / sum(took), "median": sorted(took)[len(took) // 2]}))
"""


def raw(
    folder: Path,
    items: Sequence[bytes],
    *,
    device: str,
    seconds: float,
    batch: int,
    decodes: bool = False,
) -> dict[str, float]:
    """Items/s of the program alone, loaded as a worker does, and the median seconds per batch."""
    with tempfile.TemporaryDirectory() as name:
        for number, item in enumerate(items):
            Path(name, f"{number:06}").write_bytes(item)
        arguments = [folder, name, THREADS, device, seconds, batch, int(decodes)]
        output = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", RAW, *map(str, arguments)],
            check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
    figures: dict[str, float] = json.loads(output)
    return figures


@dataclass(frozen=True, slots=True)
class Rates:
    """Items/s of the server and of the program alone, and their ratio: medians of several pairs."""

    served: float
    raw: float
    ratio: float


def against_raw(
    served: Callable[[], float],
    folder: Path,
    items: Sequence[bytes],
    *,
    device: str,
    seconds: float,
    decodes: bool = False,
) -> Rates:
    """The rate that `served` returns and that of raw batches of the best size, in alternation."""

    def rate(batch: int) -> float:
        return raw(folder, items, device=device, seconds=seconds, batch=batch, decodes=decodes)[
            "per_second"
        ]

    batch = max((8, 16, 32), key=rate)
    pairs = np.array([(served(), rate(batch)) for _ in range(ROUNDS)])
    served_rate, raw_rate = np.median(pairs, axis=0).tolist()
    return Rates(served_rate, raw_rate, float(np.median(pairs[:, 0] / pairs[:, 1])))


def digit_images() -> list[bytes]:
    """scikit-learn's digits, 8 x 8, as PNG."""
    split = split_digits()
    return [digit.png for digit in (*split.added, *split.held_out)]


def photos(count: int = 200) -> list[bytes]:
    """Smooth random images, 224 x 224, with the compressed size of a photo."""
    generator = np.random.default_rng(0)
    images = []
    for _ in range(count):
        coarse = generator.integers(0, 256, (28, 28, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((224, 224), Image.Resampling.BICUBIC)
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=85)
        images.append(stream.getvalue())
    return images


def texts(count: int = 512) -> list[bytes]:
    """Texts of 4 to 126 words, mostly short, like sentences and paragraphs."""
    generator = np.random.default_rng(0)
    lengths = np.clip(generator.lognormal(3.0, 0.8, count), 4, 126).astype(int)
    return [
        " ".join(f"w{word}" for word in generator.integers(0, WORDS, length)).encode()
        for length in lengths
    ]


def distinct(items: Sequence[bytes], separator: bytes) -> Iterator[bytes]:
    """The items, repeated forever, each time with different trailing bytes that have no effect."""
    for number in itertools.count():
        yield items[number % len(items)] + separator + str(number).encode()


def export(source: Path, folder: Path, *options: str) -> None:
    """A model folder with random weights."""
    command = [sys.executable, "-m", "euclidesdb_server", "model", "export"]
    subprocess.run(
        [*command, str(source), str(folder), "--random", *options],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip


def save_digits(models: Path) -> Path:
    """The shipped model."""
    return Path(shutil.copytree(ROOT / "models" / "digits", models / "digits"))


def save_resnet18(models: Path) -> Path:
    """ResNet-18 for images of 224 x 224, without resizing."""
    folder = models / "resnet18"
    export(ROOT / "models" / "resnet18", folder, "--format", "torchscript")
    conf = folder / "model.conf"
    conf.write_text(conf.read_text().replace("resize = 256", "resize = 224"))
    return folder


def save_encoder(models_folder: Path) -> Path:
    """A text encoder of MiniLM's size: 6 layers of 384; tokens are words."""
    with tempfile.TemporaryDirectory() as name:
        padding, unknown = "[PAD]", "[UNK]"
        vocabulary = {padding: 0, unknown: 1}
        vocabulary |= {f"w{number}": number + 2 for number in range(WORDS)}
        tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))  # noqa: S106
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # published without types
            tokenizer_object=tokenizer, pad_token=padding, unk_token=unknown, model_max_length=128
        ).save_pretrained(name)
        BertConfig(
            vocab_size=len(vocabulary), hidden_size=384, num_hidden_layers=6,
            num_attention_heads=12, intermediate_size=1536, max_position_embeddings=512,
            architectures=["BertModel"],
        ).save_pretrained(name)  # fmt: skip
        folder = models_folder / "encoder"
        export(Path(name), folder)
    return folder


@contextmanager
def serving(*makers: Callable[[Path], Path], device: str = "cpu") -> Iterator[euclidesdb.Client]:
    """A client of a server with these models and an empty database."""
    with tempfile.TemporaryDirectory() as name:
        models_folder = Path(name, "models")
        models_folder.mkdir()
        for make in makers:
            conf = make(models_folder) / "model.conf"
            keys = f"\nthreads = {THREADS}\ndevices = {device}\n"
            conf.write_text(conf.read_text().replace("[model]", "[model]" + keys, 1))
        data, log = Path(name, "data"), Path(name, "log")
        with ServerProcess(data=data, log=log, models=models_folder) as server:
            server.start()
            with euclidesdb.Client(server.address, timeout=120) as client:
                yield client
            server.stop()


@contextmanager
def made(make: Callable[[Path], Path]) -> Iterator[Path]:
    """A model folder."""
    with tempfile.TemporaryDirectory() as name:
        yield make(Path(name))


def in_parallel(work: Callable[[], object], *, callers: int, seconds: float) -> list[float]:
    """Call `work` from several threads; return the seconds that each call took."""
    took: list[float] = []
    end = time.perf_counter() + seconds

    def call() -> None:
        while (started := time.perf_counter()) < end:
            work()
            took.append(time.perf_counter() - started)

    threads = [threading.Thread(target=call, name=f"caller-{n}") for n in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return took


class Adder:
    """Adds items one by one, from any number of threads."""

    def __init__(self, client: euclidesdb.Client, model: str, items: Iterator[bytes]) -> None:
        self._client, self._model, self._items = client, model, items
        self._lock, self._numbers = threading.Lock(), itertools.count()

    def __call__(self) -> None:
        """Add the next one."""
        with self._lock:
            item, number = next(self._items), next(self._numbers)
        if self._model == "encoder":
            self._client.add(f"{number}", text=item.decode(), models=[self._model])
        else:
            self._client.add(f"{number}", image=item, models=[self._model])


def mean_batch(client: euclidesdb.Client, model: str, work: Callable[[], object]) -> float:
    """The mean number of items per batch during `work`."""

    def counts() -> tuple[int, int]:
        (info,) = [info for info in client.models() if info.name == model]
        return info.items_run, info.batches_run

    before = counts()
    work()
    after = counts()
    return (after[0] - before[0]) / (after[1] - before[1])


def callers_rate(add: Adder, callers: int, seconds: float) -> float:
    """Items/s, added one by one."""
    started = time.perf_counter()
    done = len(in_parallel(add, callers=callers, seconds=seconds))
    return done / (time.perf_counter() - started)  # including calls that ended late


def bulk_rate(client: euclidesdb.Client, items: Sequence[euclidesdb.NewItem]) -> float:
    """Items/s, added by one add_many."""
    started = time.perf_counter()
    if client.add_many(items):
        raise SystemExit("refused")
    return len(items) / (time.perf_counter() - started)


def measure_images(seconds: float, device: str) -> None:
    """Durable, searchable images/s compared with raw batches; the mean size of batches."""
    images = photos()
    with made(save_resnet18) as folder, serving(save_resnet18, device=device) as client:
        add = Adder(client, "resnet18", distinct(images, b"\0"))
        in_parallel(add, callers=16, seconds=2)
        rates = against_raw(
            lambda: callers_rate(add, 16, 2 * seconds),
            folder, images, device=device, seconds=seconds,
        )  # fmt: skip
        row(
            "images/s, ResNet-18, 16 callers",
            f"{rates.served:,.1f}; raw batches {rates.raw:,.1f}",
            f"{rates.ratio:.2f}",
            "0.9",
        )
        mean = mean_batch(
            client, "resnet18", lambda: in_parallel(add, callers=32, seconds=2 * seconds)
        )
        row("mean batch, 32 callers, max_batch_size 32", f"{mean:.1f}", f"{mean / 32:.2f}", "0.5")


def measure_digits(seconds: float, device: str) -> None:
    """add_many compared with raw batches with decoding, and with one call per item."""
    images = digit_images()
    with made(save_digits) as folder, serving(save_digits, device=device) as client:
        items = distinct(images, b"\0")
        add, numbers = Adder(client, "digits", items), itertools.count()
        single = callers_rate(add, 8, seconds)

        def bulk() -> float:
            new = [
                euclidesdb.NewItem(f"bulk-{next(numbers)}", next(items), ["digits"])
                for _ in range(int(8 * single * seconds))
            ]
            return bulk_rate(client, new)

        rates = against_raw(bulk, folder, images, device=device, seconds=seconds, decodes=True)
        single = float(np.median([single, *(callers_rate(add, 8, seconds) for _ in range(2))]))
    row(
        "digits/s by add_many",
        f"{rates.served:,.0f}; raw batches with decoding {rates.raw:,.0f}",
        f"{rates.ratio:.2f}",
        "0.5",
    )
    row(
        "the same compared with one call per item, 8 callers",
        f"{single:,.0f}",
        f"{rates.served / single:.1f} x",
        "5 x",
    )


def measure_texts(seconds: float, device: str) -> None:
    """Texts/s of mixed lengths compared with raw batches of texts sorted by length."""
    written = texts()
    with made(save_encoder) as folder, serving(save_encoder, device=device) as client:
        # spaces are not tokens, so a different number of them only makes a different payload
        items = (text + b" " * (number // len(written)) for number, text in
                 zip(itertools.count(), itertools.cycle(written)))  # fmt: skip
        add, numbers = Adder(client, "encoder", items), itertools.count()
        started = callers_rate(add, 16, seconds)

        def bulk() -> float:
            new = [
                euclidesdb.NewItem(
                    f"bulk-{next(numbers)}", text=next(items).decode(), models=["encoder"]
                )
                for _ in range(int(4 * started * seconds))
            ]
            return bulk_rate(client, new)

        for name, served in (
            ("by add_many", bulk),
            ("64 callers", lambda: callers_rate(add, 64, 2 * seconds)),
            ("16 callers", lambda: callers_rate(add, 16, 2 * seconds)),
        ):
            rates = against_raw(served, folder, written, device=device, seconds=seconds)
            row(
                f"texts/s, encoder of MiniLM's size, {name}",
                f"{rates.served:,.0f}; raw sorted batches {rates.raw:,.0f}",
                f"{rates.ratio:.2f}",
                "0.85",
            )


def search_by_next(client: euclidesdb.Client, images: Iterator[bytes], model: str) -> None:
    """Search by the next of the images."""
    client.find_similar(image=next(images), model=model)


def measure_lone(seconds: float, device: str) -> None:
    """A single caller's search by image compared with decoding and inference alone."""
    for model, make, images in (
        ("resnet18", save_resnet18, photos()),
        ("digits", save_digits, digit_images()),
    ):
        with made(make) as folder:
            alone = raw(folder, images, device=device, seconds=seconds, batch=1, decodes=True)
        with serving(make, device=device) as client:
            items = distinct(images, b"\0")
            for number in range(50):
                client.add(f"{number}", image=next(items), models=[model])
            took = in_parallel(
                partial(search_by_next, client, items, model), callers=1, seconds=seconds
            )
        median = float(np.median(took))
        row(
            f"single caller, search by image, {model}: beyond decoding and inference",
            f"p50 {median * 1e3:.1f} ms; raw {alone['median'] * 1e3:.1f} ms",
            f"{(median - alone['median']) * 1e3:.1f} ms",
            "3 ms",
        )


def measure_mixed(seconds: float, device: str) -> None:
    """A single caller of one model while another is under full load."""
    with serving(save_digits, save_resnet18, device=device) as client:
        small, large = distinct(digit_images(), b"\0"), distinct(photos(), b"\0")
        search = lambda: client.find_similar(image=next(small), model="digits")  # noqa: E731
        client.add("one", image=next(small), models=["digits"])
        alone = float(np.median(in_parallel(search, callers=1, seconds=seconds)))
        stop = threading.Event()
        add = Adder(client, "resnet18", large)

        def load() -> None:
            while not stop.is_set():
                add()

        threads = [threading.Thread(target=load) for _ in range(8)]
        for thread in threads:
            thread.start()
        time.sleep(1)
        under_load = float(np.median(in_parallel(search, callers=1, seconds=seconds)))
        stop.set()
        for thread in threads:
            thread.join()
    row(
        "single caller of digits while ResNet-18 is under full load",
        f"p50 {alone * 1e3:.1f} ms alone, {under_load * 1e3:.1f} ms under load",
        f"{under_load / alone:.1f} x",
        "fair share",
    )


def measure_repeat(_seconds: float, device: str) -> None:
    """An identical query, repeated."""
    with serving(save_resnet18, device=device) as client:
        images = photos(60)
        client.add("one", image=images[0], models=["resnet18"])
        rounds = [iter(images[1:]), iter(images[1:])]
        first, again = (
            float(np.median([seconds_of(client, image) for image in each])) for each in rounds
        )
    row(
        "an identical query, ResNet-18",
        f"p50 {first * 1e3:.1f} ms, repeated {again * 1e3:.1f} ms",
        f"{first / again:.0f} x",
        "10 x",
    )


def seconds_of(client: euclidesdb.Client, image: bytes) -> float:
    """The seconds that a search takes."""
    started = time.perf_counter()
    client.find_similar(image=image, model="resnet18")
    return time.perf_counter() - started


MEASUREMENTS: dict[str, Callable[[float, str], None]] = {
    "images": measure_images,
    "digits": measure_digits,
    "texts": measure_texts,
    "lone": measure_lone,
    "mixed": measure_mixed,
    "repeat": measure_repeat,
}


def main() -> None:
    """Measure, and print the results as a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="per measurement")
    parser.add_argument("--device", default="cpu", help="cpu, cuda:0, ... (default %(default)s)")
    parser.add_argument("--only", nargs="+", choices=MEASUREMENTS, default=[*MEASUREMENTS])
    options = parser.parse_args()
    print(f"{THREADS} cores, {THREADS} threads for a model, raw and served, {options.device}\n")
    print("| what | measured | ratio | target |\n|---|---|---|---|", flush=True)
    for name in options.only:
        MEASUREMENTS[name](options.seconds, options.device)


if __name__ == "__main__":
    main()
