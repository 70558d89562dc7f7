import threading
from pathlib import Path

import pytest

from app.core.errors import DeadlineError, InvalidRequestError, OverloadedError, TooLargeError
from app.media.spool import Spool


def spool(*, max_bytes: int = 1000, stall_s: float = 5.0) -> Spool:
    return Spool(max_bytes=max_bytes, stall_s=stall_s)


def finished(data: bytes) -> Spool:
    upload = spool()
    upload.write(data)
    upload.finish()
    return upload


def test_a_complete_upload_reads_like_a_file() -> None:
    reader = finished(b"0123456789").reader()
    assert (reader.read(4), reader.tell(), reader.read(), reader.read(1)) == (b"0123", 4, b"456789", b"")
    assert reader.seek(-3, 2) == 7
    assert reader.seek(1, 1) == 8
    assert reader.read(100) == b"89"
    assert reader.seek(2) == 2
    assert reader.read(0) == b""


def test_readers_have_their_own_positions() -> None:
    upload = finished(b"abc")
    one, two = upload.reader(), upload.reader()
    assert (one.read(2), two.read(1), one.read(1)) == (b"ab", b"a", b"c")


def test_what_is_there_is_read_before_the_upload_ends() -> None:
    upload = spool()
    upload.write(b"abc")
    assert upload.reader().read(100) == b"abc"
    assert not upload.is_finished


def background(work: object) -> tuple[threading.Thread, list[object]]:
    """Run `work` in a thread; its result, or the exception it ended with, is put into the list."""
    results: list[object] = []

    def run() -> None:
        try:
            results.append(work())  # type: ignore[operator]
        except Exception as error:  # noqa: BLE001 - the test looks at it
            results.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, results


def test_a_reader_waits_for_the_next_byte() -> None:
    upload = spool()
    thread, results = background(lambda: upload.reader().read(10))
    upload.write(b"x")
    thread.join(5)
    assert results == [b"x"]


def test_seeking_to_the_end_waits_for_the_whole() -> None:
    upload = spool()
    upload.write(b"abc")
    thread, results = background(lambda: upload.reader().seek(0, 2))
    upload.write(b"defg")
    assert thread.is_alive()
    upload.finish()
    thread.join(5)
    assert results == [7]


def test_a_position_behind_the_end_is_reached_later() -> None:
    upload = spool()
    upload.write(b"abc")
    reader = upload.reader()
    assert reader.seek(5) == 5
    thread, results = background(lambda: reader.read(2))
    upload.write(b"defg")
    thread.join(5)
    assert results == [b"fg"]


def test_abort_wakes_readers_and_stops_the_writer() -> None:
    upload = spool()
    thread, results = background(lambda: upload.reader().read(1))
    upload.abort()
    thread.join(5)
    assert isinstance(results[0], InvalidRequestError)
    with pytest.raises(InvalidRequestError):
        upload.write(b"x")


def test_abort_carries_the_callers_error_and_leaves_a_complete_upload_alone() -> None:
    upload = spool()
    upload.abort(OverloadedError())
    with pytest.raises(OverloadedError):
        upload.reader().read(1)
    whole = finished(b"abc")
    whole.abort()
    assert whole.reader().read() == b"abc"


def test_a_stalled_upload_ends_in_a_typed_error() -> None:
    upload = spool(stall_s=0.01)
    upload.write(b"abc")
    reader = upload.reader()
    assert reader.read(3) == b"abc"
    with pytest.raises(DeadlineError):
        reader.read(1)
    with pytest.raises(DeadlineError):
        upload.write(b"late")


def test_the_size_is_bounded_and_readers_learn_of_it() -> None:
    upload = spool(max_bytes=5)
    upload.write(b"12345")
    with pytest.raises(TooLargeError):
        upload.write(b"6")
    with pytest.raises(TooLargeError):
        upload.reader().read(1)


def test_closing_gives_the_disk_back_and_ends_readers() -> None:
    upload = finished(b"abc")
    reader = upload.reader()
    upload.close()
    with pytest.raises(InvalidRequestError):
        reader.read(1)


def test_the_file_has_no_name(tmp_path: Path) -> None:
    upload = Spool(max_bytes=10, directory=tmp_path)
    upload.write(memoryview(b"abc"))
    assert list(tmp_path.iterdir()) == []
    upload.close()


def test_many_small_writes_arrive_in_order() -> None:
    upload = spool(max_bytes=100_000)
    thread, results = background(lambda: upload.reader().read())
    for value in range(5000):
        upload.write(value.to_bytes(4, "big"))
    upload.finish()
    thread.join(5)
    assert results == [b"".join(value.to_bytes(4, "big") for value in range(5000))]
