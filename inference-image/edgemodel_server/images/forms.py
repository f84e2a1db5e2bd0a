"""Multipart forms to uploaded images, which stay where they are in the body. A body that is an image itself is one
upload."""

from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from edgemodel_server.errors import BadRequestError, TooLargeError, UnsupportedContentError, shown

FIELD = "image"
MAX_IMAGES = 64
MAX_FORM_PARTS = 256
"""Of a form, images and others."""
CURL = f"curl -F {FIELD}=@photo.png http://HOST:8080/predict"
_PLAIN = (b"7bit", b"8bit", b"binary")


@dataclass(frozen=True)
class Upload:
    """One uploaded file. ``name`` is how messages call it."""

    name: str
    content: bytes


@dataclass
class _Part:
    """A part of a form: its headers, with names in lower case, and where its content is in the body."""

    headers: dict[bytes, bytes] = field(default_factory=dict)
    start: int | None = None
    end: int = 0

    @property
    def options(self) -> dict[bytes, bytes]:
        """What Content-Disposition says: ``name``, and of files ``filename``."""
        return parse_options_header(self.headers.get(b"content-disposition"))[1]


def read_images(content_type: str, body: bytes) -> list[Upload]:
    """The body, if it is an image by its content type; or else the files of the form field ``image``, in order, at
    least one and at most MAX_IMAGES.

    Raises:
        UnsupportedContentError: the body is neither, or a file is encoded.
        BadRequestError: the form is malformed, or has no file in the field.
        TooLargeError: more than MAX_IMAGES files.
    """
    kind, options = parse_options_header(content_type)
    if kind.startswith(b"image/"):
        return [Upload("the body", body)]
    if kind != b"multipart/form-data":
        raise UnsupportedContentError(
            f"Content-Type is {shown(content_type)}; send an image, like image/png, or a multipart form with a file in "
            f"the field {FIELD!r}: {CURL}"
        )
    boundary = options.get(b"boundary")
    if not boundary:
        raise BadRequestError(f"Content-Type has no boundary; let the client set it: {CURL}")
    try:
        parts = _parts(boundary, body)
    except FormParserError as error:
        raise BadRequestError(f"the multipart form is malformed: {error}") from error
    images = [part for part in parts if part.options.get(b"name") == FIELD.encode() and b"filename" in part.options]
    if not images:
        others = [shown(part.options[b"name"].decode(errors="replace")) for part in parts if part.options.get(b"name")]
        found = f"it has {', '.join(others[:5])}" if others else ""
        raise BadRequestError(f"the form has no file in the field {FIELD!r} {found}".rstrip() + f"; send {CURL}")
    if len(images) > MAX_IMAGES:
        raise TooLargeError(f"the form has {len(images)} images; send at most {MAX_IMAGES} per request")
    return [_upload(index, part, body) for index, part in enumerate(images)]


def _parts(boundary: bytes, body: bytes) -> list[_Part]:
    """Those parts that are complete. All of the body is given to the parser at once, so that it gives positions in it.

    Raises:
        FormParserError: the form is malformed.
        BadRequestError: a part has no name.
        TooLargeError: more than MAX_FORM_PARTS.
    """
    parts: list[_Part] = []
    part = _Part()
    name = value = b""

    def begin() -> None:
        nonlocal part
        part = _Part()
        if len(parts) == MAX_FORM_PARTS:
            raise TooLargeError(f"the form has more than {MAX_FORM_PARTS} parts; send at most {MAX_IMAGES} images")

    def take_name(data: bytes, start: int, end: int) -> None:
        nonlocal name
        name += data[start:end]

    def take_value(data: bytes, start: int, end: int) -> None:
        nonlocal value
        value += data[start:end]

    def end_header() -> None:
        nonlocal name, value
        part.headers[name.lower()] = value.strip(b" \t")
        name = value = b""

    def take_content(_: bytes, start: int, end: int) -> None:
        part.start = start if part.start is None else part.start
        part.end = end

    def end_part() -> None:
        if b"name" not in part.options:
            raise BadRequestError("the multipart form is malformed: a part has no name in its Content-Disposition")
        parts.append(part)

    parser = MultipartParser(
        boundary,
        {
            "on_part_begin": begin,
            "on_header_field": take_name,
            "on_header_value": take_value,
            "on_header_end": end_header,
            "on_part_data": take_content,
            "on_part_end": end_part,
        },
    )
    parser.write(body)
    parser.finalize()
    return parts


def _upload(index: int, part: _Part, body: bytes) -> Upload:
    name = f"{FIELD}[{index}] {shown(part.options[b'filename'].decode(errors='replace'))}"
    coding = part.headers.get(b"content-transfer-encoding", _PLAIN[0]).lower()
    if coding not in _PLAIN:
        raise UnsupportedContentError(
            f"{name} has the Content-Transfer-Encoding {shown(coding.decode('latin-1'))}; send it as it is (binary)"
        )
    return Upload(name, body[part.start or 0 : part.end])
