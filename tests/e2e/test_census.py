"""The instruments themselves: each catches the leak that it is there for."""

import os
import tempfile
import threading

import numpy as np

from tests.e2e.census import MIB, Peak, census, comes_true

SELF = [os.getpid()]


def test_a_file_that_stays_open_is_caught() -> None:
    before = census(SELF)
    with tempfile.NamedTemporaryFile():
        assert not census(SELF).is_within(before)
        assert census(SELF).unlinked == before.unlinked
    assert census(SELF).is_within(before)


def test_a_spool_that_stays_open_is_caught_though_it_has_no_name() -> None:
    before = census(SELF)
    with tempfile.TemporaryFile():
        assert census(SELF).unlinked == before.unlinked + 1
    assert census(SELF).unlinked == before.unlinked


def test_a_thread_that_stays_is_caught() -> None:
    before, gate = census(SELF), threading.Event()
    thread = threading.Thread(target=gate.wait)
    thread.start()
    assert not census(SELF).is_within(before)
    gate.set()
    thread.join()
    assert comes_true(lambda: census(SELF).is_within(before), within_s=1)


def test_memory_that_stays_is_caught_and_memory_given_back_shows_in_the_peak() -> None:
    peak = Peak(SELF)
    held = np.ones(64 * MIB, np.uint8)
    assert peak.left_bytes() > 60 * MIB
    del held
    assert peak.left_bytes() < 10 * MIB
    assert peak.rise_bytes() > 60 * MIB
    assert Peak(SELF).rise_bytes() < 10 * MIB


def test_waiting_for_what_does_not_come_ends() -> None:
    assert not comes_true(lambda: False, within_s=0.1)
