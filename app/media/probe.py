"""What an encoded picture is, by its own bytes; a declared content type is never asked."""

from app.core.errors import InvalidRequestError, UndecodableError, UnsupportedMediaError
from app.media import jpeg_header, png_header, webp_header
from app.media.header import Body, ImageFormat, ImageHeader

__all__ = ["Body", "ImageFormat", "ImageHeader", "probe"]

_WHOLE_MAGIC_BYTES = 12


def probe(data: Body) -> ImageHeader:
    """The header of a JPEG, PNG or WebP, read without any decoder and without copying the body.

    Raises InvalidRequestError for no bytes, UnsupportedMediaError for another format, UndecodableError where the header
    is cut or broken and TooLargeError for one that is endless.
    """
    if not len(data):
        raise InvalidRequestError("the body is empty")
    if bytes(data[:2]) == jpeg_header.MAGIC:
        return jpeg_header.read(data)
    if bytes(data[:8]) == png_header.MAGIC:
        return png_header.read(data)
    if webp_header.is_webp(data):
        return webp_header.read(data)
    head = bytes(data[:_WHOLE_MAGIC_BYTES])
    if len(head) < _WHOLE_MAGIC_BYTES and (png_header.MAGIC.startswith(head) or head.startswith(b"RIFF")):
        raise UndecodableError("the picture ends inside its header")
    raise UnsupportedMediaError("neither JPEG nor PNG nor WebP")
