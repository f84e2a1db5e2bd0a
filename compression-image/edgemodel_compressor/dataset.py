"""The dataset: samples and labels out of one of the kinds in ``datafiles``, checked against the model."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgemodel_compressor.archive import is_archive, unpack, zip_names
from edgemodel_compressor.datafiles import LABELS, SINGLE, image_folder, invalid, numpy_file, parquet_file
from edgemodel_compressor.runtime import Array
from edgemodel_compressor.tensors import datatype_of, describe, dtype_of
from edgemodel_contract.task import Preprocessing, TensorSpec


@dataclass(frozen=True)
class Dataset:
    """Samples: one array per model input, samples first; and integer labels of shape (samples,), if there are any."""

    inputs: Mapping[str, Array]
    labels: NDArray[np.int64] | None

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each input's array, samples first."""
        return {name: array.shape for name, array in self.inputs.items()}


def open_dataset(path: Path, limit: int, folder: Path) -> Path:
    """The data file or the folder of images that ``path`` comes down to.

    An archive is unpacked below ``folder``, into ``limit`` bytes at most.

    Raises:
        TaskError: InvalidDataset, SourceTooLarge.
    """
    if path.is_file() and is_archive(path) and not _is_npz(path):
        path = unpack(path, folder / "samples", "The dataset", limit, "InvalidDataset")
    if path.is_dir():
        files = [item for item in sorted(path.rglob("*")) if item.suffix in (".npz", ".npy", ".parquet")]
        if len(files) == 1 and not image_folder.image_files(path):
            return files[0]
    return path


def read_dataset(
    path: Path,
    specs: Sequence[TensorSpec],
    limit: int,
    preprocessing: Preprocessing = Preprocessing(),  # noqa: B008
) -> Dataset:
    """Read and check the file or folder at ``path`` for a model with inputs ``specs``.

    An array belongs to the input of its name; for a single input, ``x`` or the only array does too. ``y`` holds the
    labels. Images become arrays as ``preprocessing`` says. ``limit`` bounds the bytes that the arrays may take in
    memory.

    Raises:
        TaskError: InvalidDataset with a sentence about the array at fault, SourceTooLarge.
    """
    arrays = _read_arrays(path, specs, limit, preprocessing)
    labels = arrays.pop(LABELS, None) if LABELS not in {spec.name for spec in specs} else None
    inputs = {spec.name: _fit(_pick(arrays, spec, len(specs) == 1), spec) for spec in specs}
    counts = {name: len(array) for name, array in inputs.items()}
    if labels is not None:
        counts[LABELS] = len(labels) if labels.ndim else 0
    if len(set(counts.values())) != 1:
        raise invalid(f"its arrays have different numbers of samples ({counts}); give one row per sample in each")
    if next(iter(counts.values())) < 2:
        raise invalid("it needs at least 2 samples, one to calibrate and one to evaluate; some hundreds are better")
    return Dataset(inputs, None if labels is None else _check_labels(labels))


def show_arrays(path: Path) -> tuple[TensorSpec, ...]:
    """What arrays the dataset at ``path`` holds, labels left out, the first dimension open; none of images.

    Takes headers for what they say, so it comes before, and not in place of, ``read_dataset``.
    """
    reader = None if path.is_dir() else _reader(path)
    found = []
    for name, shape, dtype in reader.read_headers(path) if reader else ():
        datatype = datatype_of(dtype)
        if name not in (LABELS, "label") and shape and datatype:
            found.append(TensorSpec(name=name, datatype=datatype, shape=(-1, *shape[1:])))
    return tuple(found)


def check_label_range(dataset: Dataset, classes: int | None) -> None:
    """Labels must name one of ``classes`` scores; None says that the model gives no class scores.

    Raises:
        TaskError: InvalidDataset.
    """
    if dataset.labels is None:
        return
    if classes is None:
        raise invalid(
            f"it has labels ({LABELS}), but the model's first output is no list of class scores; omit {LABELS}"
        )
    low, high = int(dataset.labels.min()), int(dataset.labels.max())
    if low < 0 or high >= classes:
        raise invalid(
            f"its labels run from {low} to {high}, but the model has {classes} classes, 0 to {classes - 1}; "
            "renumber the labels"
        )


def _is_npz(path: Path) -> bool:
    """A zip that cannot be read counts as one: its reader says best what is wrong with it."""
    with path.open("rb") as file:
        zipped = file.read(2) == b"PK"
    return zipped and all(name.endswith(".npy") for name in zip_names(path) or ())


def _read_arrays(path: Path, specs: Sequence[TensorSpec], limit: int, preprocessing: Preprocessing) -> dict[str, Array]:
    if path.is_dir():
        return image_folder.read_arrays(path, specs, preprocessing, limit)
    reader = _reader(path)
    if reader is None:
        raise invalid(
            "it is neither an npz nor an npy or Parquet file, nor an archive of images; save it with "
            "numpy.savez(path, x=samples, y=labels)"
        )
    arrays: dict[str, Array] = reader.read_arrays(path, limit)
    return _unflatten(arrays, specs) if reader is parquet_file else arrays


def _unflatten(arrays: Mapping[str, Array], specs: Sequence[TensorSpec]) -> dict[str, Array]:
    """Columns of lists in the shapes of the inputs: Parquet has one flat row of numbers per sample."""
    shapes = {spec.name: spec.shape[1:] for spec in specs}
    if len(specs) == 1:
        shapes.setdefault(SINGLE, specs[0].shape[1:])
    return {
        name: array.reshape(len(array), *shapes[name])
        if array.ndim == 2 and -1 not in shapes.get(name, (-1,)) and math.prod(shapes[name]) == array.shape[1]
        else array
        for name, array in arrays.items()
    }


def _reader(path: Path) -> ModuleType | None:
    with path.open("rb") as file:
        magic = file.read(6)
    if magic.startswith(parquet_file.MAGIC):
        return parquet_file
    return numpy_file if magic == numpy_file.MAGIC or magic.startswith(b"PK") else None


def _pick(arrays: Mapping[str, Array], spec: TensorSpec, single: bool) -> Array:
    if spec.name in arrays:
        return arrays[spec.name]
    if single and SINGLE in arrays:
        return arrays[SINGLE]
    if single and len(arrays) == 1:
        return next(iter(arrays.values()))
    has = ", ".join(sorted(arrays)) or "none"
    hint = f"{spec.name!r} or 'x'" if single else repr(spec.name)
    raise invalid(f"it has no array named {hint} for the model's input {describe(spec)}; its arrays are: {has}")


def _fit(array: Array, spec: TensorSpec) -> Array:
    wants = f"the model's input {spec.name!r} is {describe(spec)}"
    shape = spec.shape
    if shape and shape[0] not in (-1, 1):
        raise invalid(f"{wants} with a fixed batch of {shape[0]}; export the model with a batch of 1 or an open one")
    per_sample = shape[1:]
    fits = array.ndim == len(shape) and all(
        want in (-1, have) for want, have in zip(per_sample, array.shape[1:], strict=True)
    )
    if not shape or not fits:
        raise invalid(f"{wants}, but its array has shape {list(array.shape)}; give (samples, {_sizes(per_sample)})")
    dtype = dtype_of(spec)
    if array.dtype.kind != dtype.kind and not {array.dtype.kind, dtype.kind} <= {"i", "u"}:
        raise invalid(f"{wants}, but its array is {array.dtype}; convert and scale it as the training did")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise invalid(f"the array for {spec.name!r} contains NaN or infinite values; remove those samples")
    if array.dtype.kind in "iu" and array.size:
        limits = np.iinfo(dtype)
        if int(array.min()) < limits.min or int(array.max()) > limits.max:
            raise invalid(f"{wants}, but its array has values outside {dtype}")
    return np.ascontiguousarray(array, dtype=dtype)


def _sizes(shape: Sequence[int]) -> str:
    return ", ".join("?" if size == -1 else str(size) for size in shape)


def _check_labels(labels: NDArray[Any]) -> NDArray[np.int64]:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise invalid(
            f"its labels (y) are {labels.dtype} with shape {list(labels.shape)}; give one integer class per sample"
        )
    if len(labels) > 1 and (labels == labels[0]).all():
        raise invalid(
            f"all of its labels (y) are {labels[0]}, so that any answer of that class is right; give samples of at "
            "least two classes, or omit y"
        )
    return labels.astype(np.int64)
