"""One encoded picture to one upright RGB frame, at the smallest size that still covers the model's input."""

import time

from app.core.errors import UndecodableError
from app.core.frame import EncodedFrame, Frame, Pixels, Timings
from app.media import jpeg, raster
from app.media.header import ImageFormat, ImageHeader
from app.media.limits import DEFAULT_LIMITS, DecodeLimits
from app.media.probe import probe
from app.media.raw import rgb_view
from app.media.upright import upright
from app.vision.letterbox import needed_scale


def decode_still(
    encoded: EncodedFrame,
    *,
    model_width_px: int,
    model_height_px: int,
    limits: DecodeLimits = DEFAULT_LIMITS,
) -> Frame:
    """The picture, upright and in RGB, decoded straight from the request's memory.

    JPEGs are scaled while they are decoded, PNG and WebP after it, never below what the model's input, the query's
    region and its tiles can use. Transparent pixels lie on white; of an animation the first frame is taken.

    Raises InvalidRequestError (no bytes), UnsupportedMediaError, TooLargeError (over `limits`, before any decoder) and
    UndecodableError: a picture that is cut anywhere is refused, never completed with grey or old rows.
    """
    start_s = time.perf_counter()
    if encoded.raw_size_px is not None:
        return _as_it_is(encoded, encoded.raw_size_px, limits)
    header = probe(encoded.data)
    limits.check_still(
        header.width_px, header.height_px, bytes_per_pixel=header.bytes_per_pixel, n_scans=header.n_scans
    )
    width_px, height_px = header.upright_size_px
    scale = needed_scale(
        width_px,
        height_px,
        query=encoded.query,
        model_width_px=model_width_px,
        model_height_px=model_height_px,
    )
    rgb = upright(_stored(encoded, header, scale), header.orientation)
    return Frame(
        rgb=rgb,
        source_width_px=width_px,
        source_height_px=height_px,
        ref=encoded.ref,
        query=encoded.query,
        route=encoded.route,
        urgency=encoded.urgency,
        timings=Timings(decode_s=time.perf_counter() - start_s),
    )


def _as_it_is(encoded: EncodedFrame, size_px: tuple[int, int], limits: DecodeLimits) -> Frame:
    """Raw pixels as a frame over their own memory; InvalidParameterError where size and length disagree."""
    limits.check_still(*size_px)
    return Frame(
        rgb=rgb_view(encoded.data, size_px),
        source_width_px=size_px[0],
        source_height_px=size_px[1],
        ref=encoded.ref,
        query=encoded.query,
        route=encoded.route,
        urgency=encoded.urgency,
    )


def _stored(encoded: EncodedFrame, header: ImageHeader, scale: float) -> Pixels:
    """The pixels as stored, at `scale` or more of their size."""
    decode = jpeg.decode if header.format is ImageFormat.JPEG else raster.decode
    try:
        return decode(encoded.data, header, scale=scale)
    except MemoryError as error:
        raise UndecodableError("the picture does not fit into memory") from error
