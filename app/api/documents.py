"""The request bodies in OpenAPI, which FastAPI cannot read off routes that take the body as it comes."""

from typing import Any, Final

_BINARY: Final[dict[str, Any]] = {"type": "string", "format": "binary"}
_SOURCE: Final[dict[str, Any]] = {
    "oneOf": [
        {
            "type": "object",
            "properties": {"base64": {"type": "string", "contentEncoding": "base64"}},
            "required": ["base64"],
            "additionalProperties": False,
        },
        {
            "type": "object",
            "properties": {"url": {"type": "string", "format": "uri", "maxLength": 2048}},
            "required": ["url"],
            "additionalProperties": False,
            "description": "http or https, of a host that the configuration lists; by default there is none",
        },
    ],
}
_MANY: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"images": {"type": "array", "items": _BINARY}},
    "description": "every part with a file name is an image, whatever the part is called",
}
_ONE_IMAGE: Final[dict[str, Any]] = {
    "image/jpeg": {"schema": _BINARY},
    "image/png": {"schema": _BINARY},
    "image/webp": {"schema": _BINARY},
    "application/octet-stream": {"schema": {**_BINARY, "description": "any of these: the bytes tell which"}},
    "application/json": {"schema": _SOURCE},
    "application/vnd.sightline.rgb;width=W;height=H": {
        "schema": {**_BINARY, "description": "H rows of W pixels, R G B, 8 bits each, no padding: W * H * 3 bytes"}
    },
}


def _body(content: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": content}}


IMAGE_BODY: Final = _body(_ONE_IMAGE)
IMAGES_BODY: Final = _body({**_ONE_IMAGE, "multipart/form-data": {"schema": _MANY}})
VIDEO_BODY: Final = _body({"video/*": {"schema": _BINARY}, "application/octet-stream": {"schema": _BINARY}})
JPEG_ANSWER: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "The preview", "content": {"image/jpeg": {"schema": _BINARY}}}
}
