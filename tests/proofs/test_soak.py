"""Everything at once, for as long as you like: nothing acknowledged is lost, and all stays whole.

    make soak SECONDS=600

Writers of vectors and of images (single, in bulk, by streams), updates, removals, searches with
filters, lists and backups go on while workers are killed, indexes are built and merged, and the
server is killed and started again. What was acknowledged is kept outside and compared after every
start; at the end `euclidesdb verify` reads everything, as it does each backup.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import grpc
import numpy as np
import psutil
import pytest

import euclidesdb
from euclidesdb_protos.legacy import euclidesproto_pb2 as legacy
from tests.proofs.writers import DIM, MODEL, WRITERS, check_searches, stored_version
from tests.proofs.writers import Writer as VectorWriter
from tests.support.images import encoded, noise
from tests.support.ledger import Ledger, Version
from tests.support.models import save_model
from tests.support.processes import ServerProcess
from tests.support.vector_spaces import save_vector_space

IMAGES = "tiny"
IMAGE_WRITERS = 2
IMAGE_IDS = 30
LIVES = (3.0, 20.0)
"""How long a server lives, in seconds, when there is time."""
LOG_CHARACTERS = 20_000
MIB = 1 << 20
MAX_PRIVATE = 700 * MIB
LOST = (euclidesdb.Unavailable, euclidesdb.Cancelled, euclidesdb.DeadlineExceeded)
"""What calls end with when the server is killed."""

CONFIG = """
[server]
address = 127.0.0.1:0
search_engine = faiss
[models]
dir_path = models
cache_mib = 1
[database]
db_path = data
write_buffer_kib = 256
[faiss]
index_type = IVF4,Flat
nprobe = 4
[index]
compact_rows = 8
merge_factor = 2
idle_seconds = 0.5
recall_interval = 0.1
"""


def image_of(item_id: str, version: int) -> bytes:
    """The image of one version of an item: another one for each."""
    return encoded(noise(zlib.crc32(f"{item_id} {version}".encode()), size=8))


class Load:
    """A thread that makes calls at random until the server is gone or it is stopped.

    done: how often each kind of call succeeded. wrong: an error that should never happen.
    """

    def __init__(self, address: str, done: Counter[str], seed: int) -> None:
        self.address = address
        self.done = done
        self.chance = random.Random(seed)
        self.wrong: BaseException | None = None
        self.stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        """Finish the call in flight; raises what was wrong."""
        self.stopped.set()
        self._thread.join()
        if self.wrong is not None:
            raise self.wrong

    def step(self, client: euclidesdb.Client) -> None:
        """Make a call."""
        raise NotImplementedError

    def _run(self) -> None:
        try:
            with euclidesdb.Client(self.address, timeout=30) as client:
                while not self.stopped.is_set():
                    with suppress(euclidesdb.ModelUnavailable):
                        self.step(client)
        except (*LOST, euclidesdb.AddsInterrupted):
            pass
        except BaseException as error:
            self.wrong = error


class ImageWriter(Load):
    """Adds, replaces, updates and removes its own images."""

    def __init__(
        self, ledger: Ledger, address: str, done: Counter[str], number: int, seed: int
    ) -> None:
        self._ledger = ledger
        self._ids = [f"image{number}-{index}" for index in range(IMAGE_IDS)]
        super().__init__(address, done, seed)

    def step(self, client: euclidesdb.Client) -> None:
        """As `Load.step`."""
        self.chance.choice((self._add, self._add, self._add_many, self._stream, self._remove))(
            client
        )

    def _new(self, count: int) -> list[euclidesdb.NewItem]:
        ids = self.chance.sample(self._ids, count)
        versions = {item_id: self._ledger.next_version() for item_id in ids}
        self._ledger.begins(versions)
        return [
            euclidesdb.NewItem(
                item_id,
                image=image_of(item_id, version),
                models=[IMAGES],
                attributes={"id": item_id, "version": version},
            )
            for item_id, version in versions.items()
        ]

    def _add(self, client: euclidesdb.Client) -> None:
        (item,) = self._new(1)
        try:
            client.add(item.id, image=item.image, models=item.models, attributes=item.attributes)
        except (euclidesdb.ModelUnavailable, euclidesdb.ModelFailed):  # its worker was killed
            self._refused(item)
        else:
            self._became(item, "images added")

    def _add_many(self, client: euclidesdb.Client) -> None:
        items = self._new(self.chance.randint(2, 8))
        refused = {each.position for each in client.add_many(items)}
        for position, item in enumerate(items):
            if position in refused:
                self._refused(item)
            else:
                self._became(item, "images added in bulk")

    def _stream(self, client: euclidesdb.Client) -> None:
        items = self._new(self.chance.randint(2, 8))
        for item, outcome in zip(items, client.add_stream(items), strict=True):
            if isinstance(outcome, euclidesdb.Refused):
                assert isinstance(
                    outcome.error, euclidesdb.ModelUnavailable | euclidesdb.ModelFailed
                ), outcome
                self._refused(item)
            else:
                self._became(item, "images added by a stream")

    def _remove(self, client: euclidesdb.Client) -> None:
        item_id = self.chance.choice(self._ids)
        self._ledger.begins({item_id: None})
        with suppress(euclidesdb.UnknownItem):
            client.remove(item_id)
        self._ledger.became(item_id, None)
        self.done["images removed"] += 1

    def _became(self, item: euclidesdb.NewItem, what: str) -> None:
        self._ledger.became(str(item.id), _version_of(item))
        self.done[what] += 1

    def _refused(self, item: euclidesdb.NewItem) -> None:
        self._ledger.was_refused(str(item.id), _version_of(item))
        self.done["images refused, as their worker was killed"] += 1


class Reader(Load):
    """Searches, lists, counts and exports; what it finds must be in order and match the filter."""

    def step(self, client: euclidesdb.Client) -> None:
        """As `Load.step`."""
        kind = self.chance.choice((self._search, self._filter, self._image, self._list))
        kind(client)
        self.done[f"reads: {kind.__name__.strip('_')}"] += 1

    def _search(self, client: euclidesdb.Client) -> None:
        query = np.random.default_rng(self.chance.randrange(100)).integers(-999, 999, DIM)
        found = client.find_similar(vector=query.astype(np.float32), model=MODEL, top_k=20)[MODEL]
        assert np.all(np.diff(found.distances) >= 0)
        assert len(set(found.ids)) == len(found.ids)

    def _filter(self, client: euclidesdb.Client) -> None:
        least = self.chance.randrange(2000)
        found = client.find_similar(
            vector=np.zeros(DIM, np.float32),
            model=MODEL,
            top_k=10,
            filter={"version": {"$gte": least}},
            include_attributes=True,
        )[MODEL]
        assert all((each.attributes or {})["version"] >= least for each in found)

    def _image(self, client: euclidesdb.Client) -> None:
        image = encoded(noise(self.chance.randrange(1000), size=8))
        client.find_similar(image=image, model=IMAGES, top_k=5)

    def _list(self, client: euclidesdb.Client) -> None:
        for item in client.items(order_by="version"):  # in that order as it was when selected
            assert item.attributes["id"] == item.id
            assert item.attributes.keys() == {"id", "version"}


class Chaos(Load):
    """Kills workers, and has indexes merged."""

    def __init__(self, process: ServerProcess, done: Counter[str], seed: int) -> None:
        self._process = process
        super().__init__(process.address(), done, seed)

    def step(self, client: euclidesdb.Client) -> None:
        """As `Load.step`."""
        if self.stopped.wait(self.chance.uniform(0.2, 3)):
            return
        client.models()
        if self.chance.random() < 0.5:
            workers = [each for each in self._process.workers() if _is_worker(each)]
            if workers:
                with suppress(psutil.NoSuchProcess):
                    self.chance.choice(workers).kill()
                self.done["workers killed"] += 1
        else:
            with grpc.insecure_channel(self.address) as channel, suppress(grpc.RpcError):
                refresh = channel.unary_unary("/euclidesproto.Similar/Shutdown")
                refresh(legacy.ShutdownRequest(shutdown_type=1).SerializeToString(), timeout=20)
                self.done["merges requested"] += 1


class BackupMaker(Load):
    """Makes backups, one after the other, each into an empty folder; `complete` is the last."""

    def __init__(self, folder: Path, address: str, done: Counter[str], seed: int) -> None:
        self._folder = folder
        self.complete: Path | None = None
        super().__init__(address, done, seed)

    def step(self, client: euclidesdb.Client) -> None:
        """As `Load.step`."""
        if self.stopped.wait(self.chance.uniform(1, 5)):
            return
        target = self._folder / f"{time.monotonic_ns()}"
        with client.backup() as backup:
            for file in backup.files():
                path = target / file.path
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"".join(file.pieces()))
        self.complete = target
        self.done["backups"] += 1


def _is_worker(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return "euclidesdb_server.worker" in process.cmdline()
    return False


def _version_of(item: euclidesdb.NewItem) -> int:
    assert item.attributes is not None
    return int(item.attributes["version"])


def stored_image(client: euclidesdb.Client, item_id: str) -> Version:
    """The version of a stored image, whose parts agree."""
    try:
        item = client.get(item_id, include_payload=True)
    except euclidesdb.UnknownItem:
        return None
    version: int = item.attributes["version"]
    assert item.attributes == {"id": item_id, "version": version}
    assert item.image == image_of(item_id, version), f"half of {item_id}"
    return version


def settle(
    ledger: Ledger,
    client: euclidesdb.Client,
    read: Callable[[euclidesdb.Client, str], Version],
) -> dict[str, int]:
    """Compare what is stored with the ledger; returns the versions that are there."""
    found = {item_id: read(client, item_id) for item_id in ledger.possible}
    ledger.settle(found)
    return {item_id: version for item_id, version in found.items() if version is not None}


def check(address: str, vectors: Ledger, images: Ledger) -> None:
    """All that was acknowledged is there, by id, by search and in lists, and nothing else."""
    with euclidesdb.Client(address, timeout=60) as client:
        stored = settle(vectors, client, stored_version)
        check_searches(client, stored)
        images_there = settle(images, client, stored_image)
        listed = {item.id for item in client.items(page_size=1000)}
        assert listed == stored.keys() | images_there.keys()
        for item_id, version in [*images_there.items()][:5]:
            image = image_of(item_id, version)
            found = client.find_similar(image=image, model=IMAGES, top_k=1)[IMAGES]
            assert (found.ids, found.distances.tolist()) == ((item_id,), [0.0])


def verify(data: Path) -> None:
    """`euclidesdb verify` finds nothing wrong."""
    command = [sys.executable, "-m", "euclidesdb_server", "verify", "--data", str(data)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def live(
    folder: Path, ledgers: tuple[Ledger, Ledger], done: Counter[str], chance: random.Random,
    seconds: float,
) -> None:  # fmt: skip
    """One life of a server under load."""
    vectors, images = ledgers
    seed = chance.randrange(1 << 30)
    with ServerProcess("-c", folder / "euclidesdb.conf", log=folder / "log") as process:
        address = process.address()
        check(address, vectors, images)
        writers: Sequence[VectorWriter | Load] = [
            *(VectorWriter(vectors, address, n, seed + n) for n in range(WRITERS)),
            *(ImageWriter(images, address, done, n, seed + n) for n in range(IMAGE_WRITERS)),
        ]
        backups = BackupMaker(folder / "backups", address, done, seed)
        others = [Reader(address, done, seed), Chaos(process, done, seed), backups]
        time.sleep(seconds)
        about = psutil.Process(process.pid).memory_info()
        assert about.rss - about.shared < MAX_PRIVATE
        if chance.random() < 0.7:
            process.kill()
            done["servers killed"] += 1
            for each in (*writers, *others):
                each.stop()
        else:
            for each in (*writers, *others):
                each.stop()
            process.send(signal.SIGTERM)
            assert process.exit_code() == 0, (folder / "log").read_text()
            done["servers stopped"] += 1
        if backups.complete is not None:
            verify(backups.complete / "data")
            done["backups verified"] += 1


def soak(folder: Path, seconds: float, seed: int = 0) -> Counter[str]:
    """Run lives for that long; returns what happened."""
    save_vector_space(folder / "models", MODEL, feature_dim=DIM)
    save_model(folder / "models", IMAGES)
    (folder / "euclidesdb.conf").write_text(CONFIG)
    ledgers, done, chance = (Ledger(), Ledger()), Counter[str](), random.Random(seed)
    end = time.monotonic() + seconds
    while True:
        left = end - time.monotonic()
        try:
            live(folder, ledgers, done, chance, min(chance.uniform(*LIVES), max(2.0, left)))
        except BaseException:
            report(done)
            print((folder / "log").read_text()[-LOG_CHARACTERS:])
            raise
        if time.monotonic() >= end:
            break
    with ServerProcess("-c", folder / "euclidesdb.conf", log=folder / "log") as process:
        check(process.address(), *ledgers)
        process.send(signal.SIGTERM)
        assert process.exit_code() == 0
    verify(folder / "data")
    done["vectors written or removed"] = ledgers[0].acknowledged
    return done


def report(done: Counter[str]) -> None:
    print("\n" + "\n".join(f"{count:8,} {what}" for what, count in sorted(done.items())))


@pytest.mark.slow
def test_a_short_soak_loses_nothing(tmp_path):
    done = soak(tmp_path, 4)
    report(done)
    assert done["vectors written or removed"]
    assert done["images added"] + done["images added in bulk"] + done["images added by a stream"]


@pytest.mark.long
@pytest.mark.timeout(0)
def test_a_long_soak_loses_nothing(tmp_path):
    seconds = float(os.environ.get("SOAK_SECONDS", "300"))
    done = soak(tmp_path, seconds, seed=int(time.time()))
    report(done)
    for what in ("servers killed", "workers killed", "backups verified", "merges requested"):
        assert done[what], what
