"""The dataset: samples and labels out of an ``npz`` or ``npy`` file, checked against the model."""

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgemodel_compressor.errors import TaskError, first_line
from edgemodel_compressor.runtime import Array
from edgemodel_compressor.tensors import describe, dtype_of
from edgemodel_contract.task import TensorSpec

LABELS = "y"
SINGLE = "x"


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


def read_dataset(path: Path, specs: Sequence[TensorSpec], limit: int) -> Dataset:
    """Read and check the file at ``path`` for a model with inputs ``specs``.

    An array belongs to the input of its name; for a single input, ``x`` or the only array does too. ``y`` holds the
    labels. ``limit`` bounds the bytes that the arrays may take in memory.

    Raises:
        TaskError: InvalidDataset with a sentence about the array at fault, SourceTooLarge.
    """
    arrays = _read_arrays(path, limit)
    labels = arrays.pop(LABELS, None) if LABELS not in {spec.name for spec in specs} else None
    inputs = {spec.name: _fit(_pick(arrays, spec, len(specs) == 1), spec) for spec in specs}
    counts = {name: len(array) for name, array in inputs.items()}
    if labels is not None:
        counts[LABELS] = len(labels) if labels.ndim else 0
    if len(set(counts.values())) != 1:
        raise _invalid(f"its arrays have different numbers of samples ({counts}); give one row per sample in each")
    if next(iter(counts.values())) < 2:
        raise _invalid("it needs at least 2 samples, one to calibrate and one to evaluate; some hundreds are better")
    return Dataset(inputs, None if labels is None else _check_labels(labels))


def check_label_range(dataset: Dataset, classes: int | None) -> None:
    """Labels must name one of ``classes`` scores; None says that the model gives no class scores.

    Raises:
        TaskError: InvalidDataset.
    """
    if dataset.labels is None:
        return
    if classes is None:
        raise _invalid(
            f"it has labels ({LABELS}), but the model's first output is no list of class scores; omit {LABELS}"
        )
    low, high = int(dataset.labels.min()), int(dataset.labels.max())
    if low < 0 or high >= classes:
        raise _invalid(
            f"its labels run from {low} to {high}, but the model has {classes} classes, 0 to {classes - 1}; "
            "renumber the labels"
        )


def _invalid(what: str) -> TaskError:
    return TaskError("InvalidDataset", f"The dataset does not fit: {what}.")


def _read_arrays(path: Path, limit: int) -> dict[str, Array]:
    with path.open("rb") as file:
        magic = file.read(6)
    try:
        if magic.startswith(b"PK"):
            with zipfile.ZipFile(path) as archive:
                unpacked = sum(entry.file_size for entry in archive.infolist())
            if unpacked > limit:
                raise TaskError(
                    "SourceTooLarge",
                    f"The dataset takes {unpacked} bytes unpacked, more than the {limit} allowed; give fewer samples.",
                )
            with np.load(path, allow_pickle=False) as archive:
                return {name: np.asarray(archive[name]) for name in archive.files}
        if magic == b"\x93NUMPY":
            return {SINGLE: np.asarray(np.load(path, allow_pickle=False))}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, KeyError, MemoryError, NotImplementedError) as error:
        if "pickle" in str(error) or "Object arrays" in str(error):
            raise _invalid(
                "it holds Python objects, which are never unpickled; save plain numeric arrays with numpy.savez"
            ) from error
        raise _invalid(f"it is damaged or cut short ({first_line(error, 120)}); write it again") from error
    raise _invalid("it is neither an npz nor an npy file; save it with numpy.savez(path, x=samples, y=labels)")


def _pick(arrays: Mapping[str, Array], spec: TensorSpec, single: bool) -> Array:
    if spec.name in arrays:
        return arrays[spec.name]
    if single and SINGLE in arrays:
        return arrays[SINGLE]
    if single and len(arrays) == 1:
        return next(iter(arrays.values()))
    has = ", ".join(sorted(arrays)) or "none"
    hint = f"{spec.name!r} or 'x'" if single else repr(spec.name)
    raise _invalid(f"it has no array named {hint} for the model's input {describe(spec)}; its arrays are: {has}")


def _fit(array: Array, spec: TensorSpec) -> Array:
    wants = f"the model's input {spec.name!r} is {describe(spec)}"
    shape = spec.shape
    if shape and shape[0] not in (-1, 1):
        raise _invalid(f"{wants} with a fixed batch of {shape[0]}; export the model with a batch of 1 or an open one")
    per_sample = shape[1:]
    fits = array.ndim == len(shape) and all(
        want in (-1, have) for want, have in zip(per_sample, array.shape[1:], strict=True)
    )
    if not shape or not fits:
        raise _invalid(f"{wants}, but its array has shape {list(array.shape)}; give (samples, {_sizes(per_sample)})")
    dtype = dtype_of(spec)
    if array.dtype.kind != dtype.kind and not {array.dtype.kind, dtype.kind} <= {"i", "u"}:
        raise _invalid(f"{wants}, but its array is {array.dtype}; convert and scale it as the training did")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise _invalid(f"the array for {spec.name!r} contains NaN or infinite values; remove those samples")
    if array.dtype.kind in "iu" and array.size:
        limits = np.iinfo(dtype)
        if int(array.min()) < limits.min or int(array.max()) > limits.max:
            raise _invalid(f"{wants}, but its array has values outside {dtype}")
    return np.ascontiguousarray(array, dtype=dtype)


def _sizes(shape: Sequence[int]) -> str:
    return ", ".join("?" if size == -1 else str(size) for size in shape)


def _check_labels(labels: NDArray[Any]) -> NDArray[np.int64]:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise _invalid(
            f"its labels (y) are {labels.dtype} with shape {list(labels.shape)}; give one integer class per sample"
        )
    return labels.astype(np.int64)
