"""Datasets as Parquet and as images by class: the same arrays as from NumPy, or a sentence."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from edgemodel_compressor.data.dataset import Dataset, open_dataset, read_dataset, show_arrays
from edgemodel_compressor.data.files import image_folder
from edgemodel_compressor.errors import TaskError
from edgemodel_compressor.onnxmodel.runtime import Array
from edgemodel_contract.card import Comparison, ModelCard, Provenance
from edgemodel_contract.task import Preprocessing, Recipe, TensorSpec
from edgemodel_server.access.budget import Budget, Limits
from edgemodel_server.images.decode import image_input, image_tensors, read_headers
from edgemodel_server.images.forms import Upload
from tests.unit.compressor.test_archive import tar_files, zip_files

PICTURE = TensorSpec(name="image", datatype="FP32", shape=(-1, 1, 4, 4))
COLOUR = TensorSpec(name="image", datatype="FP32", shape=(-1, 3, 6, 5))
TOKENS = TensorSpec(name="tokens", datatype="INT64", shape=(-1, 6))
ROWS = np.random.default_rng(0).normal(size=(10, 16)).astype(np.float32)
Y = np.arange(10) % 3


def lists(array: Array, fixed: bool = True) -> pa.Array:
    """Rows of ``array`` (samples, n) as lists."""
    flat = pa.array(array.ravel())
    if fixed:
        return pa.FixedSizeListArray.from_arrays(flat, array.shape[1])
    return pa.ListArray.from_arrays(pa.array(np.arange(len(array) + 1) * array.shape[1], pa.int32()), flat)


def write(path: Path, **columns: object) -> Path:
    parquet.write_table(pa.table(columns), path)
    return path


def read(path: Path, *specs: TensorSpec, limit: int = 10**9, preprocessing: Preprocessing | None = None) -> Dataset:
    work = path.parent / "work"
    work.mkdir(exist_ok=True)
    opened = open_dataset(path, limit, work)
    return read_dataset(opened, specs or (PICTURE,), limit, preprocessing or Preprocessing())


def fail(path: Path, *specs: TensorSpec, limit: int = 10**9, preprocessing: Preprocessing | None = None) -> TaskError:
    with pytest.raises(TaskError) as caught:
        read(path, *specs, limit=limit, preprocessing=preprocessing)
    assert caught.value.message.endswith(".")
    assert "\n" not in caught.value.message
    return caught.value


class TestParquet:
    @pytest.mark.parametrize("label", ["y", "label"])
    @pytest.mark.parametrize("fixed", [True, False])
    @pytest.mark.parametrize("name", ["image", "x"])
    def test_a_column_of_lists_is_an_input_and_another_the_labels(
        self, tmp_path: Path, name: str, fixed: bool, label: str
    ) -> None:
        path = write(tmp_path / "d.parquet", **{name: lists(ROWS, fixed), label: Y, "note": ["text"] * 10})
        dataset = read(path)
        assert dataset.labels is not None
        assert dataset.labels.tolist() == Y.tolist()
        assert np.array_equal(dataset.inputs["image"], ROWS.reshape(10, 1, 4, 4))

    def test_numbers_and_nested_lists_are_columns_too(self, tmp_path: Path) -> None:
        age = TensorSpec(name="age", datatype="FP32", shape=(-1,))
        nested = pa.FixedSizeListArray.from_arrays(lists(ROWS.reshape(40, 4)), 4)
        square = TensorSpec(name="square", datatype="FP32", shape=(-1, 4, 4))
        dataset = read(write(tmp_path / "d.parquet", age=ROWS[:, 0].copy(), square=nested), age, square)
        assert dataset.inputs["age"].shape == (10,)
        assert np.array_equal(dataset.inputs["square"], ROWS.reshape(10, 4, 4))

    def test_several_row_groups_are_one_array(self, tmp_path: Path) -> None:
        parquet.write_table(pa.table({"x": lists(ROWS)}), tmp_path / "d.parquet", row_group_size=3)
        assert np.array_equal(read(tmp_path / "d.parquet").inputs["image"], ROWS.reshape(10, 1, 4, 4))

    def test_a_slice_of_lists_is_read_where_it_begins(self, tmp_path: Path) -> None:
        table = pa.table({"x": lists(ROWS, fixed=False)}).slice(4)
        parquet.write_table(table, tmp_path / "d.parquet")
        assert np.array_equal(read(tmp_path / "d.parquet").inputs["image"], ROWS[4:].reshape(6, 1, 4, 4))

    def test_the_schema_shows_what_it_holds(self, tmp_path: Path) -> None:
        path = write(tmp_path / "d.parquet", tokens=lists(np.zeros((10, 6), np.int64)), y=Y)
        assert show_arrays(path) == (TOKENS,)

    @pytest.mark.parametrize(
        ("columns", "words"),
        [
            ({"a": ROWS[:, 0].copy(), "b": ROWS[:, 0].copy()}, "its arrays are: a, b"),
            ({"x": lists(ROWS[:, :9].copy())}, "[10, 9]"),
            ({"x": [[1.0] * 16, [1.0] * 15] * 5}, "different lengths"),
            ({"x": [[1.0] * 16, None] * 5}, "empty cells"),
            ({"x": [[1.0] * 15 + [None]] * 10}, "empty cells"),
            ({"x": lists(ROWS * np.nan)}, "NaN"),
            ({"x": lists(ROWS), "y": [1] * 10}, "all of its labels (y) are 1"),
            ({"x": lists(ROWS), "y": ["cat"] * 5 + ["dog"] * 5, "z": Y}, None),
        ],
    )
    def test_what_does_not_fit_is_named(self, tmp_path: Path, columns: dict[str, object], words: str | None) -> None:
        path = write(tmp_path / "d.parquet", **columns)
        if words is None:
            assert read(path).labels is None
            return
        error = fail(path)
        assert (error.reason, words in error.message) == ("InvalidDataset", True), error.message

    def test_a_damaged_file_is_a_sentence(self, tmp_path: Path) -> None:
        path = write(tmp_path / "d.parquet", x=lists(ROWS))
        whole = path.read_bytes()
        for content in (whole[: len(whole) // 2], whole[:4], whole[:100] + b"\xff" * 50 + whole[150:]):
            path.write_bytes(content)
            assert fail(path).reason == "InvalidDataset"

    def test_rows_that_take_no_room_are_counted_before_they_are_read(self, tmp_path: Path) -> None:
        path = write(tmp_path / "d.parquet", x=lists(np.zeros((100_000, 16), np.float32)))
        assert path.stat().st_size < 100_000
        assert fail(path, limit=10**6).reason == "SourceTooLarge"


def picture(shape: tuple[int, ...], seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


TURNED = Image.Exif()
TURNED[0x0112] = 6

FILES = {
    "cat/1.png": encode(picture((4, 4))),
    "cat/2.JPG": encode(picture((9, 7, 3), 1), "JPEG"),
    "dog/1.webp": encode(picture((4, 4, 3), 2), "WEBP", lossless=True),
    "dog/deeper/2.png": encode(picture((4, 4), 3)),
    "README.md": b"pictures",
}


def unfold(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def served(content: bytes, spec: TensorSpec, preprocessing: Preprocessing) -> Array:
    """The input that the inference server makes of an image."""
    card = ModelCard(
        name="m",
        inputs=(spec,),
        outputs=(),
        files={},
        preprocessing=preprocessing,
        provenance=Provenance(
            source_uri="", source_digest="", task="", recipe=Recipe(), method="", engine="", libraries={}
        ),
        comparison=Comparison(source_size=1, model_size=1),
    )
    target = image_input(card)
    assert target is not None
    uploads = [Upload("image", content)]
    lease = Budget(Limits(memory=2**30, requests=1, decoding=1, connections=1)).lease("", 0)
    (batch,) = image_tensors(uploads, read_headers(uploads, 10**7), target, lease)
    tensor: Array = batch[0]
    return tensor


class TestImages:
    @pytest.mark.parametrize("kind", ["folder", "tar", "zip"])
    def test_folders_are_classes_in_the_order_of_their_names(self, tmp_path: Path, kind: str) -> None:
        path = tmp_path / "data"
        if kind == "folder":
            unfold(path, FILES)
        elif kind == "tar":
            tar_files(path, FILES)
        else:
            zip_files(path, FILES)
        dataset = read(path)
        assert dataset.labels is not None
        assert dataset.labels.tolist() == [0, 0, 1, 1]
        assert dataset.inputs["image"].shape == (4, 1, 4, 4)
        assert np.allclose(dataset.inputs["image"][0, 0], np.asarray(picture((4, 4))) / 255)
        assert show_arrays(open_dataset(path, 10**9, _fresh(tmp_path))) == ()

    @pytest.mark.parametrize(
        "preprocessing",
        [Preprocessing(), Preprocessing(scale=1.0, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4), layout="NHWC")],
    )
    @pytest.mark.parametrize(
        "content",
        [
            encode(picture((6, 5, 3))),
            encode(picture((40, 30, 3))),
            encode(picture((5, 4, 4))),
            encode(picture((9, 9)).convert("P")),
            encode(Image.fromarray((np.arange(100, dtype=np.uint16) * 600).reshape(10, 10))),
            encode(picture((12, 7, 3)), "JPEG", exif=TURNED),
            encode(picture((300, 200, 3)), "JPEG", exif=TURNED),
        ],
        ids=["as is", "resized", "transparent", "palette", "16 bit", "turned", "at a fraction of its size"],
    )
    def test_an_image_becomes_what_the_server_will_make_of_it(
        self, tmp_path: Path, content: bytes, preprocessing: Preprocessing
    ) -> None:
        spec = COLOUR if preprocessing.layout == "NCHW" else TensorSpec(name="i", datatype="FP32", shape=(-1, 6, 5, 3))
        dataset = read(unfold(tmp_path / "d", {"1.png": content, "2.png": content}), spec, preprocessing=preprocessing)
        assert dataset.labels is None
        assert np.array_equal(dataset.inputs[spec.name][1], served(content, spec, preprocessing))

    @pytest.mark.parametrize(
        ("files", "specs", "words"),
        [
            (FILES | {"loose.png": FILES["cat/1.png"]}, (PICTURE,), "'loose.png' lies beside the folders"),
            (FILES | {"cat/bad.png": b"no image"}, (PICTURE,), "'cat/bad.png' is damaged or of another format"),
            (FILES | {"cat/cut.png": FILES["cat/1.png"][:60]}, (PICTURE,), "'cat/cut.png' is damaged"),
            (FILES | {"cat/bmp.png": encode(picture((4, 4)), "BMP")}, (PICTURE,), "'cat/bmp.png' is damaged or of"),
            ({"README.md": b"nothing"}, (PICTURE,), "holds no image"),
            (FILES, (TOKENS,), "does not take one image"),
            (FILES, (PICTURE, TOKENS), "does not take one image"),
            (FILES, (TensorSpec(name="i", datatype="FP32", shape=(-1, 4, 4, 3)),), "mend serving.preprocessing.layout"),
            (FILES, (TensorSpec(name="i", datatype="FP32", shape=(-1, 3, -1, -1)),), "takes any size"),
            ({"cat/1.png": FILES["cat/1.png"], "cat/2.png": FILES["cat/1.png"]}, (PICTURE,), "all of its labels"),
        ],
    )
    def test_what_does_not_fit_is_named(
        self, tmp_path: Path, files: dict[str, bytes], specs: tuple[TensorSpec, ...], words: str
    ) -> None:
        error = fail(unfold(tmp_path / "d", files), *specs)
        assert (error.reason, words in error.message) == ("InvalidDataset", True), error.message

    def test_pixels_are_bounded_before_they_are_decoded(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(image_folder, "MAX_PIXELS", 50)
        assert "has 7×9 pixels" in fail(unfold(tmp_path / "d", FILES)).message

    def test_what_they_take_in_memory_is_bounded(self, tmp_path: Path) -> None:
        assert fail(unfold(tmp_path / "d", FILES), limit=100).reason == "SourceTooLarge"

    def test_an_archive_of_one_data_file_is_that_file(self, tmp_path: Path) -> None:
        stream = io.BytesIO()
        np.savez(stream, x=ROWS.reshape(10, 1, 4, 4), y=Y)
        path = tar_files(tmp_path / "d.tgz", {"data/d.npz": stream.getvalue(), "data/README": b""}, "w:gz")
        assert len(read(path)) == 10


def _fresh(folder: Path) -> Path:
    (folder / "fresh").mkdir()
    return folder / "fresh"


def test_headers_of_numpy_files_show_arrays_without_reading_them(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", tokens=np.zeros((10, 6), np.int64), y=Y, names=np.array(["a"] * 10))
    assert show_arrays(tmp_path / "d.npz") == (TOKENS,)
    np.save(tmp_path / "d.npy", np.zeros((3, 2), np.float32))
    shown = show_arrays(tmp_path / "d.npy")
    assert shown == (TensorSpec(name="x", datatype="FP32", shape=(-1, 2)),)
    (tmp_path / "d.npy").write_bytes(b"\x93NUMPY\x01\x00")
    assert show_arrays(tmp_path / "d.npy") == ()
