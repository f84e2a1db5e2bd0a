"""What an image says of itself before anything is decoded: its format, its size, and what decoding will cost."""

from dataclasses import dataclass
from io import BytesIO
from struct import unpack_from

from PIL import Image, PngImagePlugin, UnidentifiedImageError, WebPImagePlugin

from edgemodel_server.errors import BadRequestError, UnsupportedContentError
from edgemodel_server.images.forms import Upload

FORMATS = ("PNG", "JPEG", WebPImagePlugin.WebPImageFile.format, "GIF", "BMP")
"""The formats read. Pillow knows many more, each of them more code to attack."""
MAX_SCANS = 100
"""Of a JPEG. Each pass over its coefficients may take two bytes of the file, and encoders make about ten."""
TEXT_BYTES = 1024 * 1024
"""Of a PNG's comments and profile, unpacked: nobody reads them."""

# Pillow's own bound warns on stderr first; pixels are counted here before one is decoded.
Image.MAX_IMAGE_PIXELS = None
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = TEXT_BYTES

_STORED = {"1": 1, "L": 1, "P": 1, "I;16": 2}
"""Bytes of a pixel in Pillow's memory; 4 in every other mode, RGB too."""
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SEQUENTIAL_MARKERS = (0xC0, 0xC1)
_START_OF_SCAN = 0xDA


@dataclass(frozen=True)
class Header:
    """``size`` is width and height. ``stored`` and ``besides`` are bytes per pixel: of the decoded image, and what the
    decoder holds beside it while it works, of each pixel in the file."""

    format: str
    size: tuple[int, int]
    stored: int
    besides: int

    @property
    def pixels(self) -> int:
        """Pixels of the image in the file."""
        return self.size[0] * self.size[1]


def read_header(upload: Upload) -> Header:
    """Whatever a decoder would allocate, or do for long, it does not do here.

    Raises:
        UnsupportedContentError: not one of FORMATS, or a form of it that is not read.
        BadRequestError: the format is known but the data is damaged.
    """
    content = upload.content
    webp = _webp(content, upload.name)
    if webp is not None:
        return webp
    try:
        with Image.open(BytesIO(content), formats=[name for name in FORMATS if name != "WEBP"]) as image:
            kind, size, mode = str(image.format), image.size, image.mode
            codec = image.tile[0][0] if image.tile else ""
            layers = int(getattr(image, "layers", 0))
    except UnidentifiedImageError as error:
        raise UnsupportedContentError(f"{upload.name} is not an image in one of {', '.join(FORMATS)}") from error
    except MemoryError:
        raise
    except Exception as error:  # damaged files raise whatever the decoder trips over
        raise damaged(upload, error) from error
    if codec == "bmp_rle":
        # Pillow decodes it in Python, a command of two bytes at a time.
        raise UnsupportedContentError(f"{upload.name} is a compressed BMP; send it uncompressed, or as PNG")
    besides = 0
    if kind in ("JPEG", "MPO"):
        scans = content.count(b"\xff\xda")
        if scans > MAX_SCANS:
            raise UnsupportedContentError(
                f"{upload.name} is a JPEG of {scans} scans; send one of at most {MAX_SCANS}, as encoders make them"
            )
        # Coefficients of 16 bits, of all components, of the whole image, until the last scan is read.
        besides = 2 * layers if _is_buffered(content) else 0
    return Header(kind, size, _STORED.get(mode, 4), besides)


def damaged(upload: Upload, error: object) -> BadRequestError:
    """What to say of an image of a known format that cannot be decoded."""
    return BadRequestError(f"{upload.name} is damaged: {error}")


def _webp(content: bytes, name: str) -> Header | None:
    """Of a WebP image. Pillow's reader allocates the whole canvas, twice, before it tells how large it is."""
    if content[:4] != b"RIFF" or content[8:12] != b"WEBP":
        return None
    kind = content[12:16]
    if len(content) < 30 or kind not in (b"VP8X", b"VP8 ", b"VP8L"):
        raise BadRequestError(f"{name} is damaged: a WebP image that says no size")
    if kind == b"VP8X":
        size = (int.from_bytes(content[24:27], "little") + 1, int.from_bytes(content[27:30], "little") + 1)
    elif kind == b"VP8L":
        (bits,) = unpack_from("<I", content, 21)
        size = ((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    else:
        width, height = unpack_from("<HH", content, 26)
        size = (width & 0x3FFF, height & 0x3FFF)
    # Two canvases and a copy of the frame, of 4 bytes a pixel.
    return Header("WEBP", size, stored=4, besides=12)


def _is_buffered(content: bytes) -> bool:
    """Whether a JPEG's coefficients are all kept until its last scan is read: its first does not have all components,
    or does not have them in full. So it is where the file is too damaged to tell."""
    position, components = 2, 0
    while position + 4 <= len(content) and content[position] == 0xFF:
        marker = content[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        (length,) = unpack_from(">H", content, position + 2)
        if marker in _FRAME_MARKERS and position + 10 <= len(content):
            if marker not in _SEQUENTIAL_MARKERS:
                return True
            components = content[position + 9]
        elif marker == _START_OF_SCAN and position + 5 <= len(content):
            return content[position + 4] < components
        position += 2 + length
    return True
