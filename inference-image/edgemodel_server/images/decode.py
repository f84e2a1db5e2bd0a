"""Image bytes to the model's input tensor."""

from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError, WebPImagePlugin

from edgemodel_contract.card import ModelCard
from edgemodel_contract.task import Datatype, Preprocessing
from edgemodel_server.errors import BadRequestError, ModelError, TooLargeError, UnsupportedContentError
from edgemodel_server.images.forms import Upload
from edgemodel_server.protocol.datatypes import FLOATS, NUMPY, Array

FORMATS = ("PNG", "JPEG", WebPImagePlugin.WebPImageFile.format, "GIF", "BMP")
"""The formats read. Pillow knows many more, each of them more code to attack."""

# Pillow's own bound warns on stderr first; ``decode_image`` enforces the configured one before a pixel is decoded.
Image.MAX_IMAGE_PIXELS = None

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


def decode_image(upload: Upload, max_pixels: int) -> Image.Image:
    """Decode the first frame, turned as its EXIF orientation says.

    Raises:
        UnsupportedContentError: not one of FORMATS.
        TooLargeError: more than ``max_pixels``.
        BadRequestError: the format is known but the data is damaged.
    """
    try:
        image = Image.open(BytesIO(upload.content), formats=FORMATS)
        if image.width * image.height > max_pixels:
            raise TooLargeError(f"{upload.name} has {image.width}×{image.height} pixels; send at most {max_pixels}")
        image.load()
        return ImageOps.exif_transpose(image)
    except UnidentifiedImageError as error:
        raise UnsupportedContentError(f"{upload.name} is not an image in one of {', '.join(FORMATS)}") from error
    except (TooLargeError, MemoryError):
        raise
    except Exception as error:  # damaged files raise whatever the decoder trips over
        raise BadRequestError(f"{upload.name} is damaged: {error}") from error


def to_tensor(image: Image.Image, target: ImageInput) -> Array:
    """The image as the model's input: shape (1, C, H, W) or (1, H, W, C), of the input's dtype.

    Converted to greyscale or RGB (transparency is dropped), resized bilinearly with antialiasing to the model's size
    without keeping the aspect ratio; then (pixel × scale − mean) / std per channel for floating-point inputs. Integer
    inputs get the pixels, 0 to 255: such a model does its own scaling.
    """
    picture = _eight_bit(image).convert("L" if target.channels == 1 else "RGB")
    size = (target.width or picture.width, target.height or picture.height)
    if size != picture.size:
        picture = picture.resize(size, Image.Resampling.BILINEAR)
    pixels: Array = np.asarray(picture).reshape(picture.height, picture.width, target.channels)
    if target.datatype in FLOATS:
        preprocessing = target.preprocessing
        pixels = pixels.astype(np.float32) * np.float32(preprocessing.scale)
        if preprocessing.mean:
            pixels = pixels - np.asarray(preprocessing.mean, dtype=np.float32)
        if preprocessing.std:
            pixels = pixels / np.asarray(preprocessing.std, dtype=np.float32)
    if target.preprocessing.layout == "NCHW":
        pixels = pixels.transpose(2, 0, 1)
    return np.ascontiguousarray(pixels[np.newaxis], dtype=NUMPY[target.datatype])


def _eight_bit(image: Image.Image) -> Image.Image:
    """Pillow cuts 16-bit greyscale off at 255 when it converts; keep the upper eight bits instead."""
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8))
