"""Datasets: which arrays fit which model, and what is said of those that do not."""

from pathlib import Path

import numpy as np
import pytest

from edgemodel_compressor.data.dataset import Dataset, labelled_output, read_dataset
from edgemodel_compressor.errors import TaskError
from edgemodel_contract.task import TensorSpec

IMAGE = TensorSpec(name="image", datatype="FP32", shape=(-1, 1, 4, 4))
TOKENS = TensorSpec(name="tokens", datatype="INT64", shape=(1, 6))
X = np.zeros((10, 1, 4, 4), np.float32)
Y = np.arange(10) % 3


def write(path: Path, **arrays: object) -> Path:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path.with_suffix(".npz") if path.suffix != ".npz" else path


def read(path: Path, *specs: TensorSpec, limit: int = 10**9) -> Dataset:
    return read_dataset(path, specs or (IMAGE,), limit)


def fail(path: Path, *specs: TensorSpec, limit: int = 10**9) -> TaskError:
    with pytest.raises(TaskError) as caught:
        read(path, *specs, limit=limit)
    assert caught.value.message.endswith(".")
    return caught.value


@pytest.mark.parametrize("name", ["image", "x", "anything"])
def test_the_array_of_a_single_input_is_found_by_name_as_x_or_alone(tmp_path: Path, name: str) -> None:
    dataset = read(write(tmp_path / "d.npz", **{name: X, "y": Y}))
    assert len(dataset) == 10
    assert dataset.labels is not None
    assert dataset.labels.tolist() == Y.tolist()


def test_an_npy_file_is_samples_without_labels(tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", X)
    dataset = read(tmp_path / "d.npy")
    assert (len(dataset), dataset.labels) == (10, None)


def test_several_inputs_need_an_array_each(tmp_path: Path) -> None:
    tokens = np.zeros((10, 6), np.int32)
    dataset = read(write(tmp_path / "d.npz", image=X, tokens=tokens), IMAGE, TOKENS)
    assert dataset.inputs["tokens"].dtype == np.int64
    error = fail(write(tmp_path / "e.npz", image=X), IMAGE, TOKENS)
    assert "'tokens'" in error.message


def test_an_input_called_y_is_an_input(tmp_path: Path) -> None:
    spec = TensorSpec(name="y", datatype="FP32", shape=(-1, 2))
    dataset = read(write(tmp_path / "d.npz", y=np.ones((3, 2), np.float32)), spec)
    assert dataset.labels is None


def test_double_precision_is_taken_for_single(tmp_path: Path) -> None:
    assert read(write(tmp_path / "d.npz", x=X.astype(np.float64))).inputs["image"].dtype == np.float32


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": np.zeros((10, 1, 4, 5), np.float32)}, "[10, 1, 4, 5]"),
        ({"x": np.zeros((10, 16), np.float32)}, "(samples, 1, 4, 4)"),
        ({"x": np.zeros(10, np.float32)}, "[10]"),
        ({"x": np.float32(1)}, "[]"),
        ({"x": np.zeros((10, 1, 4, 4), np.uint8)}, "uint8; convert and scale"),
        ({"x": X.astype("U4")}, "<U4"),
        ({"x": X * np.nan}, "NaN or infinite"),
        ({"x": X[:1]}, "at least 2 samples"),
        ({"x": X[:0]}, "at least 2 samples"),
        ({"x": X, "y": Y[:9]}, "different numbers of samples"),
        ({"x": X, "y": Y.astype("U1")}, "its labels (y) are <U1"),
        ({"x": X, "y": Y * np.float32("nan")}, "its labels (y) contain NaN"),
        ({"x": X, "y": np.zeros((10, 3, 2), np.int64)}, "[10, 3, 2]"),
        ({"x": X, "y": np.zeros((10, 3), np.int64)}, "all of its labels (y) are 0"),
        ({"x": X, "y": np.full(10, 2)}, "all of its labels (y) are 2"),
        ({"x": X, "y": np.int64(3)}, "different numbers of samples"),
        ({"a": X, "b": X}, "its arrays are: a, b"),
        ({"x": np.array([{"a": 1}] * 10, dtype=object)}, "never unpickled"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, arrays: dict[str, object], words: str) -> None:
    error = fail(write(tmp_path / "d.npz", **arrays))
    assert error.reason == "InvalidDataset"
    assert words in error.message


def test_integers_beyond_the_inputs_type_are_refused(tmp_path: Path) -> None:
    spec = TensorSpec(name="x", datatype="UINT8", shape=(-1, 2))
    assert "outside uint8" in fail(write(tmp_path / "d.npz", x=np.array([[0, 256]] * 3)), spec).message


def test_a_fixed_batch_is_refused(tmp_path: Path) -> None:
    spec = TensorSpec(name="x", datatype="FP32", shape=(8, 2))
    assert "fixed batch of 8" in fail(write(tmp_path / "d.npz", x=np.zeros((8, 2), np.float32)), spec).message


def test_files_that_are_no_arrays(tmp_path: Path) -> None:
    path = tmp_path / "d.npz"
    whole = write(path, x=X, y=Y).read_bytes()
    for content, words in [
        (b"", "neither an npz nor an npy"),
        (b"a,b\n1,2\n", "neither an npz nor an npy"),
        (whole[: len(whole) // 2], "damaged or cut short"),
        (whole[:200] + b"\xff" * 100 + whole[300:], "damaged or cut short"),
        (b"\x93NUMPY\x01\x00", "damaged or cut short"),
    ]:
        path.write_bytes(content)
        error = fail(path)
        assert error.reason == "InvalidDataset"
        assert words in error.message


def test_a_dataset_that_unpacks_beyond_the_limit_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, x=np.zeros((1000, 1, 4, 4), np.float32))
    assert path.stat().st_size < 5000
    assert fail(path, limit=10_000).reason == "SourceTooLarge"


def output(*shape: int) -> list[TensorSpec]:
    return [TensorSpec(name="y", datatype="FP32", shape=shape)]


def labelled(labels: object) -> Dataset:
    return Dataset({"x": np.zeros((2, 1), np.float32)}, np.array(labels))


@pytest.mark.parametrize(
    ("labels", "outputs", "words"),
    [
        ([0, 3], output(-1, 3), "its labels run from 0 to 3, but the model has 3 classes"),
        ([-1, 0], output(-1, 3), "its labels run from -1 to 0"),
        ([0, 1], output(-1, 3, 8, 8), "is no list of scores"),
        ([[0, 9], [1, 2]], output(-1, 2, 7), "its labels run from 0 to 9"),
        ([[0, 1], [1, 2]], output(-1, 7), "one token per position"),
        ([[0.5, 1.5], [1.0, 2.0]], output(-1, 3), "its float labels (y) have the shape [2] per sample"),
    ],
)
def test_labels_must_fit_the_first_output(labels: object, outputs: list[TensorSpec], words: str) -> None:
    with pytest.raises(TaskError) as caught:
        labelled_output(labelled(labels), outputs)
    assert caught.value.reason == "InvalidDataset"
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("labels", "outputs"),
    [
        ([0, 2], output(-1, 3)),
        ([0, 2], output(-1, -1)),
        ([[0, -1], [1, 2]], output(-1, 2, 7)),
        ([[0.5, 1.5], [1.0, 2.0]], output(-1, 2)),
    ],
)
def test_labels_that_fit(labels: object, outputs: list[TensorSpec]) -> None:
    labelled_output(labelled(labels), outputs)


def test_samples_that_the_model_was_trained_on_can_be_told_from_those_that_judge(tmp_path: Path) -> None:
    path = tmp_path / "d.npz"
    marks = np.array([True, False, True, False])
    np.savez(path, x=np.zeros((4, 1, 4, 4), np.float32), y=np.array([0, 1, 2, 0]), held_out=marks)
    found = read_dataset(path, [IMAGE], 10**6).held_out
    assert found is not None
    assert found.tolist() == marks.tolist()


@pytest.mark.parametrize(
    ("marks", "words"),
    [
        (np.array([True, True, True]), "the same for every sample"),
        (np.array([0, 1, 2]), "true or false per sample"),
        (np.array([True, False]), "different numbers of samples"),
    ],
)
def test_marks_that_mean_nothing_are_refused(tmp_path: Path, marks: np.ndarray, words: str) -> None:
    path = tmp_path / "d.npz"
    np.savez(path, x=np.zeros((3, 1, 4, 4), np.float32), held_out=marks)
    with pytest.raises(TaskError) as caught:
        read_dataset(path, [IMAGE], 10**6)
    assert words in caught.value.message
