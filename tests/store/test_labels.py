"""LabelSequence: ascending, reserved before use, and with the right low watermark."""

from __future__ import annotations

import threading
from contextlib import ExitStack

import pytest

from euclidesdb_server.errors import DiskFull
from euclidesdb_server.store.labels import RESERVATION, LabelSequence


def test_labels_ascend_from_the_first_and_are_reserved_before_they_are_given():
    reserved = [10]
    labels = LabelSequence(10, reserved.append)
    for expected in range(10, 10 + 2 * RESERVATION):
        with labels.allocate() as (label,):
            assert label == expected < reserved[-1]
    assert len(reserved) == 3  # one write per run


def test_the_low_watermark_starts_below_the_first_label():
    assert LabelSequence(10, lambda _: None).low_watermark() == 9


def test_writes_that_finish_out_of_order_settle_when_the_oldest_does():
    labels = LabelSequence(1, lambda _: None)
    with ExitStack() as first, ExitStack() as second, ExitStack() as third:
        for stack in (first, second, third):
            stack.enter_context(labels.allocate())
        assert labels.low_watermark() == 0
        second.close()
        assert labels.low_watermark() == 0
        first.close()
        assert labels.low_watermark() == 2
        third.close()
        assert labels.low_watermark() == 3


def test_a_failed_write_stays_unsettled_until_it_is_resolved():
    labels = LabelSequence(1, lambda _: None)
    with labels.allocate():
        pass
    with pytest.raises(DiskFull), labels.allocate(2):
        raise DiskFull("full")
    with labels.allocate() as (later,):
        pass
    assert (later, labels.low_watermark()) == (4, 1)
    labels.resolve([2])
    assert labels.low_watermark() == 2
    labels.resolve([3])
    assert labels.low_watermark() == 4


def test_many_labels_are_taken_at_once_across_reserved_runs():
    reserved = [1]
    labels = LabelSequence(1, reserved.append)
    taken = []
    for count in (1, RESERVATION, 3 * RESERVATION, 2):
        with labels.allocate(count) as run:
            assert len(run) == count
            assert run[-1] < reserved[-1]
            assert labels.low_watermark() == run[0] - 1
            taken += run
    assert taken == [*range(1, len(taken) + 1)]


def test_waiting_for_writes_waits_for_those_under_way():
    labels = LabelSequence(1, lambda _: None)
    passed = threading.Event()

    def wait():
        labels.wait_for_writes()
        passed.set()

    waiting = threading.Thread(target=wait)
    with labels.allocate():
        waiting.start()
        assert not passed.wait(0.1)
    assert passed.wait(30)
    waiting.join()


def test_waiting_for_writes_does_not_wait_for_one_that_failed():
    labels = LabelSequence(1, lambda _: None)
    with pytest.raises(DiskFull), labels.allocate():
        raise DiskFull("full")
    labels.wait_for_writes()


def test_a_label_that_could_not_be_reserved_is_not_given():
    reserved = []

    def reserve(end: int) -> None:
        reserved.append(end)
        if len(reserved) == 1:
            raise DiskFull("full")

    labels = LabelSequence(1, reserve)
    with pytest.raises(DiskFull), labels.allocate():
        pytest.fail("a label that is not reserved was given")
    assert labels.low_watermark() == 0
    with labels.allocate() as (label,):
        assert label == 1
    assert reserved == [2 + RESERVATION, 2 + RESERVATION]


def test_the_last_label_is_that_of_the_last_write_though_others_are_in_flight():
    labels = LabelSequence(1, lambda _: None)
    assert labels.last() == 0
    with labels.allocate(3):
        with labels.allocate() as (label,):
            pass
        assert labels.last() == label == 4
        assert labels.low_watermark() == 0


def test_threads_never_share_a_label():
    labels = LabelSequence(1, lambda _: None)
    taken: list[int] = []

    def work() -> None:
        for _ in range(500):
            with labels.allocate() as (label,):
                taken.append(label)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == [*range(1, 4001)]
    assert labels.low_watermark() == 4000
