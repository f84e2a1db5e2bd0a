"""Image bytes to the model's input tensor."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image, ImageOps

from edgemodel_contract.card import ModelCard
from edgemodel_contract.task import Datatype, Preprocessing
from edgemodel_server.errors import ModelError, TooLargeError
from edgemodel_server.images.forms import Upload
from edgemodel_server.images.headers import FORMATS, Header, damaged, read_header
from edgemodel_server.protocol.datatypes import FLOATS, NUMPY, Array
from edgemodel_server.protocol.memory import Memory

DRAFT_FACTOR = 3
"""A JPEG is decoded at a half, a quarter or an eighth of its size where that is still so many times the model's: what
is then resized shows no difference that Pillow's authors could see, and is decoded for a fraction of the memory."""
PIXEL_SECONDS = 4e-8
"""Decoding a pixel takes about so long."""

_INTEGERS: frozenset[Datatype] = frozenset({"UINT8", "UINT16", "UINT32", "UINT64", "INT16", "INT32", "INT64"})


@dataclass(frozen=True)
class ImageInput:
    """The one input of a model that takes a single image. ``height`` and ``width`` are None where any size goes."""

    name: str
    datatype: Datatype
    channels: int
    height: int | None
    width: int | None
    preprocessing: Preprocessing


def image_input(card: ModelCard) -> ImageInput | None:
    """How to feed an image to the model; None if it does not take one image.

    It does if it has exactly one input, of four dimensions in the card's layout, batch open or 1, one or three
    channels, and numbers that hold 0 to 255.

    Raises:
        ModelError: mean or std has neither no value, nor one, nor one per channel, or std has a zero.
    """
    if len(card.inputs) != 1:
        return None
    spec = card.inputs[0]
    if len(spec.shape) != 4 or spec.shape[0] not in (-1, 1) or spec.datatype not in FLOATS | _INTEGERS:
        return None
    layout = card.preprocessing.layout
    channels, height, width = (spec.shape[layout.index(axis)] for axis in "CHW")
    if channels not in (1, 3):
        return None
    for name, values in (("mean", card.preprocessing.mean), ("std", card.preprocessing.std)):
        if len(values) not in (0, 1, channels) or (name == "std" and 0 in values):
            raise ModelError(
                f"preprocessing.{name} of model {card.name!r} is {list(values)}: "
                f"give 1 or {channels} values{' other than zero' if name == 'std' else ''}"
            )
    return ImageInput(
        name=spec.name,
        datatype=spec.datatype,
        channels=channels,
        height=height if height > 0 else None,
        width=width if width > 0 else None,
        preprocessing=card.preprocessing,
    )


def read_headers(uploads: Sequence[Upload], max_pixels: int) -> list[Header]:
    """The header of each image.

    Raises:
        TooLargeError: together they have more than ``max_pixels``.
        RequestError: as ``read_header``.
    """
    headers: list[Header] = []
    pixels = 0
    for upload in uploads:
        header = read_header(upload)
        pixels += header.pixels
        if pixels > max_pixels:
            before = " with those before it" if headers else ""
            raise TooLargeError(
                f"{upload.name} has {header.size[0]}×{header.size[1]} pixels{before}; send at most {max_pixels} in one "
                "request, or raise EDGEMODEL_MAX_PIXELS"
            )
        headers.append(header)
    return headers


def decoding_seconds(headers: Sequence[Header]) -> float:
    """About how long decoding takes."""
    return sum(header.pixels for header in headers) * PIXEL_SECONDS


def image_tensors(
    uploads: Sequence[Upload], headers: Sequence[Header], target: ImageInput, memory: Memory
) -> list[Array]:
    """Arrays whose rows are the model's input for the images, in order: shape (n, C, H, W) or (n, H, W, C), of the
    input's dtype. One array where the model's size is fixed, or else one for each image.

    The images are decoded one after the other. ``memory`` is charged for each while it is decoded, and for the arrays.

    Raises:
        BadRequestError: an image is damaged.
        RequestError: as ``Memory.hold``.
    """
    size = _fixed_size(target)
    batch = None if size is None else _empty(len(uploads), size, target, memory)
    arrays = [] if batch is None else [batch]
    for index, (upload, header) in enumerate(zip(uploads, headers, strict=True)):
        with _charged(memory, _decoding_bytes(header, target)):
            picture = _picture(upload, header, target)
            if batch is None:
                arrays.append(_empty(1, picture.size, target, memory))
            _fill(arrays[-1][0] if batch is None else batch[index], picture, target)
    return arrays


def _fixed_size(target: ImageInput) -> tuple[int, int] | None:
    """Width and height of the model's input; None where it leaves one of them open."""
    return None if target.width is None or target.height is None else (target.width, target.height)


def _empty(count: int, size: tuple[int, int], target: ImageInput, memory: Memory) -> Array:
    width, height = size
    dtype = NUMPY[target.datatype]
    memory.hold(count * target.channels * height * width * dtype.itemsize)
    planes = target.preprocessing.layout == "NCHW"
    shape = (count, target.channels, height, width) if planes else (count, height, width, target.channels)
    return np.empty(shape, dtype)


@contextmanager
def _charged(memory: Memory, size: int) -> Iterator[None]:
    memory.hold(size)
    try:
        yield
    finally:
        memory.release(size)


def _picture(upload: Upload, header: Header, target: ImageInput) -> Image.Image:
    """The first frame, turned as its EXIF orientation says, in greyscale or RGB (transparency is dropped), of the
    model's size: resized bilinearly with antialiasing, without keeping the aspect ratio."""
    try:
        image = Image.open(BytesIO(upload.content), formats=FORMATS)
        if image.size != header.size:
            raise ValueError(f"it has {image.size} pixels, not {header.size} as its header says")
        image.draft(None, _drafted(target))
        image.load()
        turned = ImageOps.exif_transpose(image)
        picture = _eight_bit(turned).convert("L" if target.channels == 1 else "RGB")
    except MemoryError:
        raise
    except Exception as error:  # damaged files raise whatever the decoder trips over
        raise damaged(upload, error) from error
    size = (target.width or picture.width, target.height or picture.height)
    return picture if size == picture.size else picture.resize(size, Image.Resampling.BILINEAR)


def _drafted(target: ImageInput) -> tuple[int, int] | None:
    """The size down to which a JPEG may be decoded at a fraction of its own; None: no fraction."""
    size = _fixed_size(target)
    return None if size is None else (DRAFT_FACTOR * max(size), DRAFT_FACTOR * max(size))


def _fill(row: Array, picture: Image.Image, target: ImageInput) -> None:
    """Write the image into ``row``, (C, H, W) or (H, W, C), a channel at a time: (pixel × scale − mean) / std for
    floating-point inputs. Integer inputs get the pixels, 0 to 255: such a model does its own scaling."""
    pixels: Array = np.asarray(picture).reshape(picture.height, picture.width, target.channels)
    preprocessing = target.preprocessing
    for channel in range(target.channels):
        place = row[channel] if preprocessing.layout == "NCHW" else row[:, :, channel]
        values = pixels[:, :, channel]
        if target.datatype in FLOATS:
            values = values * np.float32(preprocessing.scale)
            for of_channel, apply in ((preprocessing.mean, np.subtract), (preprocessing.std, np.divide)):
                if of_channel:
                    apply(values, np.float32(of_channel[channel % len(of_channel)]), out=values)
        place[...] = values


def _decoding_bytes(header: Header, target: ImageInput) -> int:
    """The most that is held at a time, beside the tensor, while an image becomes a part of it."""
    width, height = header.size
    if header.format in ("JPEG", "MPO") and (drafted := _drafted(target)) is not None:
        factor = next(
            size for size in (8, 4, 2, 1) if min(width // drafted[0], height // drafted[1]) >= size or size == 1
        )
        width, height = -(-width // factor), -(-height // factor)
    converted = 1 if target.channels == 1 else 4
    # Turned, or in the mode that the model takes: as many pixels again.
    decoding = header.besides * header.pixels + width * height * (header.stored + max(header.stored, converted))
    resizing = 4 * max(width, height) * (target.width or 0)
    filling = (target.width or width) * (target.height or height) * (target.channels + 4)
    return decoding + resizing + filling


def _eight_bit(image: Image.Image) -> Image.Image:
    """Pillow cuts 16-bit greyscale off at 255 when it converts; keep the upper eight bits instead."""
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
