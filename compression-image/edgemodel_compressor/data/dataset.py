"""The dataset: samples and labels out of one of the kinds in ``datafiles``, checked against the model."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgemodel_compressor.data.files import HELD_OUT, LABELS, SINGLE, image_folder, invalid, numpy_file, parquet_file
from edgemodel_compressor.fetch.archive import is_archive, unpack, zip_names
from edgemodel_compressor.onnxmodel.runtime import Array
from edgemodel_compressor.onnxmodel.tensors import datatype_of, describe, dtype_of
from edgemodel_contract.task import Preprocessing, TensorSpec


@dataclass(frozen=True)
class Dataset:
    """Samples: one array per model input, samples first, and labels, if there are any.

    Labels are classes (samples,), int64; or tokens (samples, positions), int64, of which negative ones do not count; or
    targets (samples, …), float32. ``held_out`` (samples,) is true for samples that the model was not trained on.
    """

    inputs: Mapping[str, Array]
    labels: Array | None
    held_out: NDArray[np.bool_] | None = None
    whole: frozenset[str] = frozenset()
    """Inputs of which every sample has a whole one: states, single numbers, and batches of a size that is fixed."""

    def sample(self, index: int) -> dict[str, Array]:
        """What the model is given for one sample: a batch of one, where no other batch is asked for."""
        return {
            name: np.asarray(array[index]) if name in self.whole else array[index : index + 1]
            for name, array in self.inputs.items()
        }

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    @property
    def classes(self) -> NDArray[np.int64] | None:
        """The labels, where they are classes."""
        return self.labels if self.labels is not None and self.labels.ndim == 1 and _is_integer(self.labels) else None

    @property
    def sample_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each input of one ``sample``."""
        return {
            name: array.shape[1:] if name in self.whole else (1, *array.shape[1:])
            for name, array in self.inputs.items()
        }

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
    states: Collection[str] = (),
) -> Dataset:
    """Read and check the file or folder at ``path`` for a model with inputs ``specs``.

    An array belongs to the input of its name; for a single input, ``x`` or the only array does too. ``y`` holds the
    labels, and ``held_out`` tells which samples judge. Images become arrays as ``preprocessing`` says. ``limit`` bounds
    the bytes that the arrays may take in memory. ``states`` are inputs that are zero where the dataset does not hold
    them.

    Each sample of an input without a batch dimension in front, a state or a single number, is a whole one. A model with
    a fixed batch gets batches: of consecutive samples, or, where labels tell of each, of copies of one.

    Raises:
        TaskError: InvalidDataset with a sentence about the array at fault, SourceTooLarge.
    """
    arrays = _read_arrays(path, specs, limit, preprocessing)
    names = {spec.name for spec in specs}
    labels = arrays.pop(LABELS, None) if LABELS not in names else None
    held_out = arrays.pop(HELD_OUT, None) if HELD_OUT not in names else None
    given = [spec for spec in specs if spec.name not in states or spec.name in arrays]
    batch = _fixed_batch(given)
    inputs, whole = {}, set()
    for spec in given:
        values = _pick(arrays, spec, len(given) == 1)
        if _is_whole(values, spec):
            inputs[spec.name] = _fit(
                values, TensorSpec(name=spec.name, datatype=spec.datatype, shape=(-1, *spec.shape))
            )
            whole.add(spec.name)
        else:
            inputs[spec.name] = _fit(values, spec, batch)
    counts = {name: len(array) for name, array in inputs.items()}
    for name, array in ((LABELS, labels), (HELD_OUT, held_out)):
        if array is not None:
            counts[name] = len(array) if array.ndim else 0
    if len(set(counts.values())) != 1:
        raise invalid(f"its arrays have different numbers of samples ({counts}); give one row per sample in each")
    if next(iter(counts.values())) < 2:
        raise invalid("it needs at least 2 samples, one to calibrate and one to evaluate; some hundreds are better")
    checked = None if labels is None else _check_labels(labels)
    if batch > 1 and not whole:
        inputs, whole = _batches(inputs, batch, labels is not None), set(inputs)
    count = len(next(iter(inputs.values())))
    for spec in specs:
        if spec.name not in inputs:
            shape = tuple(1 if size == -1 else size for size in spec.shape)
            inputs[spec.name] = np.broadcast_to(np.zeros((), dtype_of(spec)), (count, *shape))
            whole.add(spec.name)
    return Dataset(
        {spec.name: inputs[spec.name] for spec in specs},
        checked,
        # Of batches of several samples nobody has said which of them judge.
        _check_held_out(held_out) if held_out is not None and len(held_out) == count else None,
        frozenset(whole),
    )


def show_arrays(path: Path) -> tuple[TensorSpec, ...]:
    """What arrays the dataset at ``path`` holds, labels left out, the first dimension open; none of images.

    Takes headers for what they say, so it comes before, and not in place of, ``read_dataset``.
    """
    reader = None if path.is_dir() else _reader(path)
    found = []
    for name, shape, dtype in reader.read_headers(path) if reader else ():
        datatype = datatype_of(dtype)
        if name not in (LABELS, "label", HELD_OUT) and shape and datatype:
            found.append(TensorSpec(name=name, datatype=datatype, shape=(-1, *shape[1:])))
    return tuple(found)


def require_variety(dataset: Dataset) -> None:
    """Samples must differ, or nothing can be told from them.

    Raises:
        TaskError: InvalidDataset.
    """
    if all(bool((array == array[:1]).all()) for array in dataset.inputs.values()):
        raise invalid("all of its samples are equal, so that nothing can be told from them; give different ones")


def labelled_output(dataset: Dataset, outputs: Sequence[TensorSpec]) -> int:
    """The index of the first output that the labels fit: they name its classes or words, or have its shape; 0 without.

    Raises:
        TaskError: InvalidDataset, with what is wrong for the first output.
    """
    labels = dataset.labels
    if labels is None:
        return 0
    faults = [_misfit(labels, output) for output in outputs]
    if None in faults:
        return faults.index(None)
    raise invalid(faults[0] or "")


def _misfit(labels: Array, output: TensorSpec) -> str | None:
    """Why ``labels`` are none of ``output``; None where they are."""
    if not _is_integer(labels):
        if output.datatype.startswith("FP") and (
            -1 in output.shape[1:] or labels[0].size == math.prod(output.shape[1:])
        ):
            return None
        return (
            f"its float labels ({LABELS}) have the shape {list(labels.shape[1:])} per sample, but the "
            f"model's first output is {describe(output)}; give one target per number, or integer classes"
        )
    if labels.ndim == 1 and "INT" in output.datatype and output.shape in ((-1,), (1,), (-1, 1), (1, 1)):
        return None
    if len(output.shape) != labels.ndim + 1 or not output.datatype.startswith("FP"):
        what = "one class" if labels.ndim == 1 else "one token per position"
        return (
            f"its labels ({LABELS}) are {what} per sample, but the model's first output, {describe(output)}, is no "
            f"list of scores for that; omit {LABELS}"
        )
    choices = output.shape[-1]
    low, high = int(labels.min()), int(labels.max())
    if choices != -1 and ((low < 0 and labels.ndim == 1) or high >= choices):
        return (
            f"its labels run from {low} to {high}, but the model has {choices} classes, 0 to {choices - 1}; "
            "renumber the labels"
        )
    return None


def _is_integer(labels: Array) -> bool:
    return labels.dtype.kind in "iu"


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
    if math.prod(spec.shape) == 1 and len(spec.shape) < 2:
        raise invalid(
            f"it has no array named {spec.name!r} for the model's input {describe(spec)}; if that is the same in every "
            f"request, fix it (--fix {spec.name}=VALUE); its arrays are: {has}"
        )
    hint = f"{spec.name!r} or 'x'" if single else repr(spec.name)
    raise invalid(f"it has no array named {hint} for the model's input {describe(spec)}; its arrays are: {has}")


def _fixed_batch(specs: Sequence[TensorSpec]) -> int:
    """The size of the batch that all inputs have in front; 1 where it is open or they differ."""
    sizes = {spec.shape[0] if spec.shape else 1 for spec in specs}
    return sizes.pop() if len(sizes) == 1 and -1 not in sizes else 1


def _is_whole(array: Array, spec: TensorSpec) -> bool:
    """Whether each sample in ``array`` has all dimensions of the input."""
    return array.ndim == len(spec.shape) + 1 and all(
        want in (-1, have) for want, have in zip(spec.shape, array.shape[1:], strict=True)
    )


def _batches(inputs: Mapping[str, Array], batch: int, labelled: bool) -> dict[str, Array]:
    """Samples in batches: (samples // batch, batch, …), or copies of each where every one has its label."""
    if labelled:
        return {
            name: np.broadcast_to(array[:, None], (len(array), batch, *array.shape[1:]))
            for name, array in inputs.items()
        }
    count = len(next(iter(inputs.values()))) // batch
    if count < 2:
        raise invalid(f"the model has a fixed batch of {batch}, so that it needs {2 * batch} samples at least")
    return {name: array[: count * batch].reshape(count, batch, *array.shape[1:]) for name, array in inputs.items()}


def _fit(array: Array, spec: TensorSpec, batch: int = 1) -> Array:
    wants = f"the model's input {spec.name!r} is {describe(spec)}"
    shape = spec.shape
    if shape and shape[0] not in (-1, 1, batch):
        raise invalid(
            f"{wants}, whose first dimension is no batch; give an array of {(len(shape) + 1)} dimensions, with a whole "
            "input for every sample"
        )
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


def _check_labels(labels: NDArray[Any]) -> Array:
    if labels.ndim == 2 and labels.shape[1] == 1 and _is_integer(labels):
        labels = labels[:, 0]
    if labels.dtype.kind == "f" and labels.ndim:
        if not np.isfinite(labels).all():
            raise invalid("its labels (y) contain NaN or infinite values; remove those samples")
        return labels.astype(np.float32)
    if labels.ndim not in (1, 2) or not _is_integer(labels):
        raise invalid(
            f"its labels (y) are {labels.dtype} with shape {list(labels.shape)}; give one integer class per sample, "
            "one token per position, or float targets"
        )
    if len(labels) > 1 and (labels == labels.flat[0]).all():
        raise invalid(
            f"all of its labels (y) are {labels.flat[0]}, so that any answer of that class is right; give samples of "
            "at least two classes, or omit y"
        )
    return labels.astype(np.int64)


def _check_held_out(marks: NDArray[Any]) -> NDArray[np.bool_]:
    if marks.ndim != 1 or marks.dtype.kind not in "biu" or not np.isin(marks, (0, 1)).all():
        raise invalid(
            f"its array {HELD_OUT!r} is {marks.dtype} with shape {list(marks.shape)}; give true or false per sample"
        )
    if marks.all() or not marks.any():
        raise invalid(
            f"its array {HELD_OUT!r} is the same for every sample; mark those that the model was not trained on, or "
            "omit it"
        )
    return marks.astype(np.bool_)
