"""Images in a folder per class: the names of the folders, sorted, are the classes 0, 1, 2 and so on.

An image becomes an input exactly as the server makes one of it: first frame, turned as its EXIF orientation says,
greyscale or RGB, resized bilinearly with antialiasing without keeping the aspect ratio, (pixel × scale − mean) / std.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from edgemodel_compressor.data.files import LABELS, invalid, too_large
from edgemodel_compressor.errors import first_line
from edgemodel_compressor.onnxmodel.runtime import Array
from edgemodel_compressor.onnxmodel.tensors import describe, dtype_of
from edgemodel_contract.task import Preprocessing, TensorSpec

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
FORMATS = ("PNG", "JPEG", "WEBP")
"""The formats read. Pillow knows many more, each of them more code to attack."""
MAX_PIXELS = 2**26
"""Of one image, before it is resized."""

DRAFT_FACTOR = 3
"""A JPEG is decoded at a half, a quarter or an eighth of its size where that is still so many times the model's."""

# Pillow's own bound warns on stderr first; MAX_PIXELS is checked before a pixel is decoded.
Image.MAX_IMAGE_PIXELS = None


def image_files(folder: Path) -> list[Path]:
    """The images below ``folder``, in order."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())


def read_arrays(
    folder: Path, specs: Sequence[TensorSpec], preprocessing: Preprocessing, limit: int
) -> dict[str, Array]:
    """The images as the array of the model's one input, and the classes as ``y`` if they lie in folders.

    Raises:
        TaskError: InvalidDataset with the image at fault, SourceTooLarge.
    """
    spec = _image_input(specs, preprocessing)
    files = image_files(folder)
    if not files:
        raise invalid(f"its folder holds no image ({', '.join(SUFFIXES)}); give a folder per class")
    classes = _classes(folder, files)
    shape, dtype = spec.shape[1:], dtype_of(spec)
    size = len(files) * int(np.prod(shape)) * dtype.itemsize
    if size > limit:
        raise too_large(size, limit)
    images = np.empty((len(files), *shape), dtype)
    for index, file in enumerate(files):
        images[index] = _read(file, str(file.relative_to(folder)), shape, dtype, preprocessing)
    arrays = {spec.name: images}
    if classes:
        arrays[LABELS] = np.array([classes.index(file.relative_to(folder).parts[0]) for file in files], np.int64)
    return arrays


def _image_input(specs: Sequence[TensorSpec], preprocessing: Preprocessing) -> TensorSpec:
    spec = specs[0]
    axes = "N" + preprocessing.layout.replace("N", "")
    if len(specs) != 1 or len(spec.shape) != 4 or spec.datatype == "BOOL":
        wants = ", ".join(f"{item.name} {describe(item)}" for item in specs)
        raise invalid(f"it holds images, but the model does not take one image ({wants}); give arrays in an npz file")
    channels = spec.shape[axes.index("C")]
    if channels not in (1, 3):
        raise invalid(
            f"it holds images, but the model's input {describe(spec)} has {channels} channels in the layout "
            f"{preprocessing.layout}; mend serving.preprocessing.layout"
        )
    if -1 in spec.shape[1:]:
        raise invalid(
            f"it holds images, and the model's input {describe(spec)} takes any size; state the one it is served with "
            "in inputs"
        )
    for name, values in (("mean", preprocessing.mean), ("std", preprocessing.std)):
        if len(values) not in (0, 1, channels) or (name == "std" and 0 in values):
            raise invalid(f"serving.preprocessing.{name} is {list(values)}; give 1 or {channels} values")
    return spec


def _classes(folder: Path, files: Sequence[Path]) -> list[str]:
    """Names of the classes, in order; none where all images lie in ``folder`` itself."""
    inside = [file.relative_to(folder).parts for file in files]
    classes = sorted({parts[0] for parts in inside if len(parts) > 1})
    loose = next((parts[0] for parts in inside if len(parts) == 1), None)
    if classes and loose:
        raise invalid(f"its image {loose!r} lies beside the folders of the classes; put it into one of them")
    return classes


def _read(
    file: Path, name: str, shape: tuple[int, ...], dtype: np.dtype[np.generic], preprocessing: Preprocessing
) -> Array:
    first = preprocessing.layout == "NCHW"
    channels, height, width = shape if first else (shape[2], shape[0], shape[1])
    try:
        with Image.open(file, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise invalid(
                    f"its image {name!r} has {image.width}×{image.height} pixels, and {MAX_PIXELS} are allowed; make "
                    "it smaller"
                )
            longest = DRAFT_FACTOR * max(width, height)
            image.draft(None, (longest, longest))
            image.load()
            picture = _eight_bit(ImageOps.exif_transpose(image)).convert("L" if channels == 1 else "RGB")
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError, OverflowError) as error:
        raise invalid(f"its image {name!r} is damaged or of another format ({first_line(error, 120)})") from error
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    pixels: Array = np.asarray(picture).reshape(height, width, channels)
    if dtype.kind == "f":
        pixels = pixels.astype(np.float32) * np.float32(preprocessing.scale)
        if preprocessing.mean:
            pixels = pixels - np.asarray(preprocessing.mean, dtype=np.float32)
        if preprocessing.std:
            pixels = pixels / np.asarray(preprocessing.std, dtype=np.float32)
    return (pixels.transpose(2, 0, 1) if first else pixels).astype(dtype)


def _eight_bit(image: Image.Image) -> Image.Image:
    """Pillow cuts 16-bit greyscale off at 255 when it converts; keep the upper eight bits instead."""
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8))
