"""Multipart forms to uploaded images, in memory: the server's file system may be read-only throughout. A body that is
an image itself is one upload."""

from dataclasses import dataclass
from io import BytesIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File, FormParser, parse_options_header

from edgemodel_server.errors import BadRequestError, TooLargeError, UnsupportedContentError, shown

FIELD = "image"
MAX_IMAGES = 64
CURL = f"curl -F {FIELD}=@photo.png http://HOST:8080/predict"


@dataclass(frozen=True)
class Upload:
    """One uploaded file. ``name`` is how messages call it."""

    name: str
    content: bytes


def read_images(content_type: str, body: bytes | bytearray | memoryview) -> list[Upload]:
    """The body, if it is an image by its content type; or else the files of the form field ``image``, in order, at
    least one and at most MAX_IMAGES.

    Raises:
        UnsupportedContentError: the body is neither.
        BadRequestError: the form is malformed, or has no file in the field.
        TooLargeError: more than MAX_IMAGES files.
    """
    kind, options = parse_options_header(content_type)
    if kind.startswith(b"image/"):
        return [Upload("the body", bytes(body))]
    if kind != b"multipart/form-data":
        raise UnsupportedContentError(
            f"Content-Type is {shown(content_type)}; send an image, like image/png, or a multipart form with a file in "
            f"the field {FIELD!r}: {CURL}"
        )
    boundary = options.get(b"boundary")
    if not boundary:
        raise BadRequestError(f"Content-Type has no boundary; let the client set it: {CURL}")
    files: list[File] = []
    fields: list[Field] = []
    try:
        parser = FormParser(
            "multipart/form-data",
            on_field=fields.append,
            on_file=files.append,
            boundary=boundary,
            config={"MAX_MEMORY_FILE_SIZE": len(body) + 1},
        )
        parser.write(bytes(body))
        parser.finalize()
    except FormParserError as error:
        raise BadRequestError(f"the multipart form is malformed: {error}") from error
    images = [file for file in files if file.field_name == FIELD.encode()]
    if not images:
        others = [
            name for name in [*(file.field_name for file in files), *(item.field_name for item in fields)] if name
        ]
        found = f"it has {', '.join(shown(name.decode(errors='replace')) for name in others[:5])}" if others else ""
        raise BadRequestError(f"the form has no file in the field {FIELD!r} {found}".rstrip() + f"; send {CURL}")
    if len(images) > MAX_IMAGES:
        raise TooLargeError(f"the form has {len(images)} images; send at most {MAX_IMAGES} per request")
    return [_upload(index, file) for index, file in enumerate(images)]


def _upload(index: int, file: File) -> Upload:
    name = (file.file_name or b"").decode(errors="replace")
    content = file.file_object
    if not isinstance(content, BytesIO):  # the limit above keeps every file in memory
        raise TypeError(f"upload {index} was not kept in memory")
    return Upload(f"{FIELD}[{index}] {shown(name)}", content.getvalue())
