"""Bad requests to `/v1/detections`: each gets its status in time, costs little, and the next good one is answered."""

from collections.abc import Callable

import pytest

from load_tests.service import Service
from tests.e2e.wire import (
    IMAGES,
    JPEG,
    MP4,
    VIDEOS,
    WITHIN_S,
    Connection,
    ask,
    assert_alike,
    assert_problem,
    chunked,
    request,
)
from tests.unit.media.pictures import deflated_zeros, encoded, gradient, png
from tests.unit.media.test_bombs import extended_webp_of, jpeg_of, many_scans, webp_of

FORM = "multipart/form-data; boundary=b"


def part(name: str, data: bytes) -> bytes:
    return b'--b\r\nContent-Disposition: form-data; name="f"; filename="%s"\r\n\r\n%s\r\n' % (name.encode(), data)


def test_an_empty_body_is_malformed(steady: Service) -> None:
    assert_problem(ask(steady, IMAGES, b""), 400, "invalid_request")


def test_text_is_no_image(steady: Service) -> None:
    assert_problem(ask(steady, IMAGES, b"hello, this is a text\n" * 50), 415, "unsupported_media")


@pytest.mark.parametrize("percent", [10, 50, 99])
def test_a_cut_jpeg_cannot_be_decoded(steady: Service, good: bytes, percent: int) -> None:
    assert_problem(ask(steady, IMAGES, good[: len(good) * percent // 100]), 422, "undecodable")


@pytest.mark.parametrize(
    "make",
    [
        lambda: jpeg_of(65_500, 65_500),
        lambda: png(width_px=30_000, height_px=30_000, rows=deflated_zeros(90_000_000)),
        lambda: webp_of(16_383, 16_383),
        lambda: extended_webp_of(1 << 24, 1 << 24),
        lambda: many_scans(500),
        lambda: many_scans(99, size_px=2800),
    ],
    ids=["jpeg_65500", "png_900_mpx", "webp_lossless", "webp_2_to_48", "scans", "large_scans"],
)
def test_a_bomb_is_too_large(steady: Service, make: Callable[[], bytes]) -> None:
    assert_problem(ask(steady, IMAGES, make()), 413, "too_large")


def test_a_bomb_that_lies_about_its_type_is_too_large(steady: Service) -> None:
    assert_problem(ask(steady, IMAGES, jpeg_of(65_500, 65_500), kind="image/png"), 413, "too_large")


@pytest.mark.parametrize("kind", ["text/html", "video/mp4", "multipart/mixed; boundary=b"])
def test_a_body_declared_as_no_image_is_unsupported(steady: Service, good: bytes, kind: str) -> None:
    assert_problem(ask(steady, IMAGES, good, kind=kind), 415, "unsupported_media")


def test_an_image_declared_as_json_is_malformed(steady: Service, good: bytes) -> None:
    assert_problem(ask(steady, IMAGES, good, kind="application/json"), 400, "invalid_request")


@pytest.mark.parametrize("value", ["nan", "-1", "-inf", "1e999", "", "x"])
@pytest.mark.parametrize("name", ["conf", "iou", "tile"])
def test_a_number_out_of_its_range_is_refused(steady: Service, good: bytes, name: str, value: str) -> None:
    assert_problem(ask(steady, f"{IMAGES}?{name}={value}", good), 422, "invalid_parameter")


@pytest.mark.parametrize("roi", ["nan,0,1,1", "-0.5,0,1,1", "0.5,0.5,0.5,1", "0,0,inf,1", "0,0,1"])
def test_a_region_that_is_none_is_refused(steady: Service, good: bytes, roi: str) -> None:
    assert_problem(ask(steady, f"{IMAGES}?roi={roi}", good), 422, "invalid_parameter")


@pytest.mark.parametrize("value", ["nan", "-1", "0", "soon"])
def test_a_deadline_that_is_none_is_refused(steady: Service, good: bytes, value: str) -> None:
    answer = ask(steady, IMAGES, good, headers=f"x-deadline-ms: {value}\r\n")
    assert_problem(answer, 422, "invalid_parameter")


def test_a_thousand_files_are_too_many(steady: Service, good: bytes) -> None:
    body = b"".join(part(f"{n}.jpg", good[:10_000]) for n in range(1000)) + b"--b--\r\n"
    assert_problem(ask(steady, IMAGES, body, kind=FORM), 413, "too_large")


def test_a_bad_file_fails_alone_among_good_ones(
    steady: Service, good: bytes, expected: list[dict[str, object]]
) -> None:
    body = b"".join(part("f", data) for data in [good, b"text", good[:500], b"", good]) + b"--b--\r\n"
    answer = ask(steady, IMAGES, body, kind=FORM)
    assert answer.status == 200
    reasons = [result.get("reason") for result in answer.json]
    assert reasons == [None, "unsupported_media", "undecodable", "invalid_request", None]
    for result in (answer.json[0], answer.json[-1]):
        assert_alike(result["objects"], expected)


@pytest.mark.parametrize(
    "body", [b"", b"--b", b"--c\r\n\r\n--c--", part("f", b"x")], ids=["no", "cut", "other", "open"]
)
def test_a_broken_multipart_is_malformed(steady: Service, body: bytes) -> None:
    assert_problem(ask(steady, IMAGES, body, kind=FORM), 400, "invalid_request")


@pytest.mark.parametrize(("path", "kind"), [(IMAGES, JPEG), (IMAGES, FORM), (VIDEOS, MP4)])
def test_a_huge_length_is_refused_when_it_is_declared(steady: Service, path: str, kind: str) -> None:
    with Connection(steady) as connection:
        answer = connection.send(request(path, b"\xff\xd8", kind=kind, n_bytes=10**13)).answer()
    assert_problem(answer, 413, "too_large")


def test_a_body_without_a_length_is_taken_in_chunks(
    steady: Service, good: bytes, expected: list[dict[str, object]]
) -> None:
    pieces = [good[at : at + 7000] for at in range(0, len(good), 7000)]
    with Connection(steady) as connection:
        answer = connection.send(chunked(IMAGES, pieces, kind=JPEG)).answer()
    assert answer.status == 200
    assert_alike(answer.json["objects"], expected)


def test_a_connection_goes_on_after_each_error(steady: Service, good: bytes, expected: list[dict[str, object]]) -> None:
    with Connection(steady) as connection:
        for bad, code in [
            (request(IMAGES), "invalid_request"),
            (request(IMAGES, b"text"), "unsupported_media"),
            (request(IMAGES, good[:9000]), "undecodable"),
            (request(IMAGES, good, kind="text/html"), "unsupported_media"),
            (request(f"{IMAGES}?conf=nan", good), "invalid_parameter"),
            (request("/v1/nothing", good), "not_found"),
        ]:
            answer = connection.send(bad).answer()
            assert_problem(answer, answer.status, code)
            after = connection.send(request(IMAGES, good)).answer()
            assert after.status == 200
            assert_alike(after.json["objects"], expected)


def test_a_deadline_is_kept(steady: Service, good: bytes) -> None:
    assert_problem(ask(steady, IMAGES, good, headers="x-deadline-ms: 0.001\r\n"), 504, "deadline_exceeded")
    answer = ask(steady, IMAGES, good, headers="x-deadline-ms: 600000\r\n")
    assert answer.status == 200
    assert answer.after_s < WITHIN_S


def test_encodings_of_all_kinds_still_pass(steady: Service) -> None:
    rgb = gradient(width_px=320, height_px=240)
    bodies = [encoded(rgb, kind) for kind in ("JPEG", "PNG", "WEBP")] + [encoded(rgb, "JPEG", progressive=True)]
    assert [ask(steady, IMAGES, body).status for body in bodies] == [200] * 4
