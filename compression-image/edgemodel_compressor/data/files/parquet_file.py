"""Parquet: a column per input, numbers or lists of numbers, and the labels in ``y`` or ``label``."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edgemodel_compressor.data.files import LABELS, invalid, too_large
from edgemodel_compressor.errors import TaskError, first_line
from edgemodel_compressor.onnxmodel.runtime import Array

MAGIC = b"PAR1"
_LABEL = "label"
_ITEM = 8
"""Bytes of the largest number."""


def read_arrays(path: Path, limit: int) -> dict[str, Array]:
    """The numeric columns by name: shape (samples,), or (samples, n, …) for lists of one length.

    Raises:
        TaskError: InvalidDataset, SourceTooLarge; UnsupportedModel where pyarrow is not installed.
    """
    with _opened(path) as file:
        # A column of equal values takes no room in the file, so what the file takes bounds nothing.
        groups = [file.metadata.row_group(index) for index in range(file.metadata.num_row_groups)]
        size = _ITEM * sum(group.column(index).num_values for group in groups for index in range(group.num_columns))
        if size > limit:
            raise too_large(size, limit)
        names = [field.name for field in file.schema_arrow if _depth(field.type) is not None]
        try:
            arrays = {name: _to_array(name, file.read(columns=[name]).column(0).combine_chunks()) for name in names}
        except TaskError:
            raise
        except Exception as error:  # pyarrow raises its own types and OSError out of its C++ core
            raise _damaged(error) from error
    if LABELS not in arrays and _LABEL in arrays:
        arrays[LABELS] = arrays.pop(_LABEL)
    return arrays


def read_headers(path: Path) -> Iterator[tuple[str, tuple[int, ...], np.dtype[np.generic]]]:
    """Name, shape and dtype of each column, as far as the schema tells them."""
    with _opened(path) as file:
        rows = file.metadata.num_rows
        for field in file.schema_arrow:
            shape, kind = [rows], field.type
            if _depth(kind) is None:
                continue
            while _is_list(kind):
                shape.append(getattr(kind, "list_size", -1))
                kind = kind.value_type
            yield field.name, tuple(shape), np.dtype(kind.to_pandas_dtype())


def _opened(path: Path) -> Any:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise TaskError(
            "InvalidDataset",
            "The dataset is a Parquet file, which needs pyarrow and this installation has it not; pip install "
            "'edgemodel[formats]', or save it with numpy.savez.",
        ) from error
    try:
        return parquet.ParquetFile(path)
    except Exception as error:  # as above
        raise _damaged(error) from error


def _damaged(error: Exception) -> TaskError:
    return invalid(f"its Parquet file is damaged or cut short ({first_line(error, 120)}); write it again")


def _is_list(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _depth(kind: Any) -> int | None:
    """How many lists lie around the numbers; None for a column of anything else."""
    from pyarrow import types

    depth = 0
    while _is_list(kind):
        kind, depth = kind.value_type, depth + 1
    numeric = types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)
    return depth if numeric else None


def _to_array(name: str, column: Any) -> Array:
    shape: list[int] = [len(column)]
    while _is_list(column.type):
        if column.null_count:
            break
        lengths = np.unique(np.diff(column.offsets) if hasattr(column, "offsets") else [column.type.list_size])
        if len(lengths) > 1:
            raise invalid(f"the lists in its column {name!r} have different lengths; pad them to one")
        shape.append(int(lengths[0]) if len(lengths) else 0)
        column = column.flatten()
    if column.null_count:
        raise invalid(f"its column {name!r} has empty cells; fill them or remove those samples")
    return np.asarray(column.to_numpy(zero_copy_only=False)).reshape(shape)
