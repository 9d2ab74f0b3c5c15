"""What is decoded at the same time is bounded in pixels, and each pixel takes a few bytes."""

import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from euclidesdb_server.worker.inputs.pixel_budget import PixelBudget
from tests.support.images import encoded
from tests.support.waiting import wait_for
from tests.worker.image_files import image_input


def test_pixels_in_flight_stay_within_the_limit():
    budget, lock = PixelBudget(100), threading.Lock()
    in_flight, most = 0, 0

    def decode(pixels):
        nonlocal in_flight, most
        with budget.take(pixels):
            with lock:
                in_flight += pixels
                most = max(most, in_flight)
            with lock:
                in_flight -= pixels

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(decode, [60, 30, 50, 20, 70, 10] * 50))
    assert most <= 100


def test_a_thread_waits_until_its_image_fits():
    budget, entered = PixelBudget(100), threading.Event()

    def second():
        with budget.take(50):
            entered.set()

    with budget.take(60):
        thread = threading.Thread(target=second)
        thread.start()
        wait_for(lambda: bool(budget._changed._waiters), "it waits")  # type: ignore[attr-defined]
        assert not entered.is_set()
    thread.join(60)
    assert entered.is_set()


def test_an_image_above_the_limit_is_decoded_alone():
    with PixelBudget(100).take(1000):
        pass


def test_a_failure_returns_its_pixels():
    budget = PixelBudget(100)
    with pytest.raises(ValueError, match="bad"), budget.take(100):
        raise ValueError("bad")
    with budget.take(100):
        pass


def test_a_large_image_of_16_bits_takes_no_wider_copy():
    # Pillow holds 2 bytes for each of 4 Mi samples, and 1 of gray; NumPy only bands of them.
    samples = np.linspace(0, 65535, 1 << 22).astype(np.uint16).reshape(2048, 2048)
    data = encoded(Image.fromarray(samples))
    inputs = image_input(max_pixels=1 << 22, image_size=32)
    tracemalloc.start()
    got = inputs.decode(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 << 20
    np.testing.assert_allclose(got[0, :, 0], np.linspace(2, 252, 32), atol=4)
