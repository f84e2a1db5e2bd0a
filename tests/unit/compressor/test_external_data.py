"""Models in two files: what of an untrusted data file is read, and how large models are kept."""

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from edgemodel_compressor.errors import TaskError
from edgemodel_compressor.graph.prune import prune
from edgemodel_compressor.graph.quantization.apply import quantize
from edgemodel_compressor.graph.quantization.cpu import TargetCpu
from edgemodel_compressor.graph.quantization.recipe import QuantizationRecipe
from edgemodel_compressor.graph.weights import sparsity
from edgemodel_compressor.onnxmodel import modelfile
from edgemodel_compressor.onnxmodel.model import Model, load_model
from edgemodel_compressor.onnxmodel.modelfile import model_files, model_size, read_model, write_model
from edgemodel_compressor.onnxmodel.runtime import Session
from edgemodel_contract.task import Pruning
from tests.unit.compressor import builders

VALUES = builders.blobs(3, (48,))[0]


def two_files(folder: Path, location: str = "weights.bin") -> Path:
    """The MLP with its large weights in ``location``, as onnx writes it."""
    folder.mkdir(exist_ok=True)
    (folder / location).parent.mkdir(exist_ok=True)
    onnx.save_model(
        builders.mlp(), folder / "m.onnx", save_as_external_data=True, location=location, size_threshold=1024
    )
    return folder / "m.onnx"


def load(path: Path, work: Path) -> Model:
    work.mkdir(exist_ok=True)
    return load_model(path, "0" * 64, (), 1, work)


def edit(path: Path, **entries: str) -> None:
    """Change what the first external tensor says of its data."""
    proto = onnx.load(path, load_external_data=False)
    tensor = next(item for item in proto.graph.initializer if item.external_data)
    kept = {item.key: item.value for item in tensor.external_data} | entries
    del tensor.external_data[:]
    for key, value in kept.items():
        tensor.external_data.add(key=key, value=value)
    path.write_bytes(proto.SerializeToString())


def fail(path: Path, work: Path) -> TaskError:
    with pytest.raises(TaskError) as caught:
        load(path, work)
    assert caught.value.message.endswith(".")
    assert not (work / "gathered.onnx").exists()
    return caught.value


@pytest.fixture
def split(tmp_path: Path) -> Path:
    return two_files(tmp_path / "source")


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every model counts as too large for a single file."""
    monkeypatch.setattr(modelfile, "SINGLE_FILE_LIMIT", 1)


def answers(path: Path) -> list[float]:
    return [float(value) for value in Session(path, 1).run({"x": VALUES})[0].ravel()]


@pytest.mark.parametrize("location", ["weights.bin", "data/weights.bin"])
def test_a_small_model_in_two_files_becomes_one(tmp_path: Path, location: str) -> None:
    model = load(two_files(tmp_path / "source", location), tmp_path / "work")
    assert model_files(model.path) == (model.path,)
    one = builders.save(builders.mlp(), tmp_path / "one.onnx")
    assert answers(model.path) == answers(one)


@pytest.mark.usefixtures("large")
class TestLargeModels:
    def test_they_are_kept_in_two_files_and_run(self, tmp_path: Path, split: Path) -> None:
        model = load(split, tmp_path / "work")
        assert [file.name for file in model_files(model.path)] == ["gathered.onnx", "gathered.onnx.data"]
        assert model.size == model_size(model.path) > 48 * 160 * 4
        assert answers(model.path) == answers(builders.save(builders.mlp(), tmp_path / "one.onnx"))
        assert sparsity(model.proto()) == sparsity(builders.mlp())

    def test_the_digest_of_the_model_file_vouches_for_the_weights(self, tmp_path: Path) -> None:
        proto = builders.mlp()
        write_model(proto, tmp_path / "a.onnx")
        first = hashlib.sha256((tmp_path / "a.onnx").read_bytes()).hexdigest()
        write_model(builders.mlp(), tmp_path / "a.onnx")
        assert hashlib.sha256((tmp_path / "a.onnx").read_bytes()).hexdigest() == first
        prune(proto, Pruning(sparsity=0.5))
        write_model(proto, tmp_path / "a.onnx")
        assert hashlib.sha256((tmp_path / "a.onnx").read_bytes()).hexdigest() != first

    def test_writing_leaves_the_model_as_it_was(self, tmp_path: Path) -> None:
        proto = builders.mlp()
        write_model(proto, tmp_path / "a.onnx")
        assert proto == builders.mlp()
        again = read_model(tmp_path / "a.onnx")
        del again.metadata_props[:]
        assert {t.name: onnx.numpy_helper.to_array(t).tolist() for t in again.graph.initializer} == {
            t.name: onnx.numpy_helper.to_array(t).tolist() for t in proto.graph.initializer
        }

    def test_they_can_be_quantized(self, tmp_path: Path, split: Path) -> None:
        model = load(split, tmp_path / "work")
        recipe = QuantizationRecipe("Dynamic")
        quantize(model.path, tmp_path / "q.onnx", recipe, None, TargetCpu(), tmp_path)
        assert model_size(tmp_path / "q.onnx") < 0.5 * model.size
        close = np.abs(np.array(answers(tmp_path / "q.onnx")) - answers(model.path)).max()
        assert close < 0.1 * np.abs(answers(model.path)).max()

    def test_nan_is_found_in_the_data_file(self, tmp_path: Path, split: Path) -> None:
        data = bytearray((split.parent / "weights.bin").read_bytes())
        data[400:404] = np.float32(np.nan).tobytes()
        (split.parent / "weights.bin").write_bytes(bytes(data))
        with pytest.raises(TaskError, match="contains NaN"):
            load(split, tmp_path / "work")


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"offset": "-4"}, "offset"),
        ({"offset": "1e3"}, "offset"),
        ({"length": "x"}, "length"),
        ({"length": "4"}, "names 4"),
        ({"offset": "99999999"}, "cut short"),
        ({"location": "other.bin"}, "not there"),
        ({"location": ""}, "not there"),
        ({"location": "."}, "not there"),
    ],
)
def test_what_the_model_says_of_its_data_is_checked(
    tmp_path: Path, split: Path, entries: dict[str, str], words: str
) -> None:
    edit(split, **entries)
    error = fail(split, tmp_path / "work")
    assert (error.reason, words in error.message) == ("InvalidModel", True), error.message


def test_a_data_file_that_was_cut_short_is_found(tmp_path: Path, split: Path) -> None:
    data = split.parent / "weights.bin"
    data.write_bytes(data.read_bytes()[:-1])
    assert "cut short" in fail(split, tmp_path / "work").message


@pytest.mark.parametrize("place", ["file", "folder"])
def test_links_are_not_followed(tmp_path: Path, place: str) -> None:
    path = two_files(tmp_path / "source", "data/weights.bin")
    moved = tmp_path / "elsewhere"
    if place == "file":
        (path.parent / "data" / "weights.bin").rename(moved)
        (path.parent / "data" / "weights.bin").symlink_to(moved)
    else:
        (path.parent / "data").rename(moved)
        (path.parent / "data").symlink_to(moved)
    error = fail(path, tmp_path / "work")
    assert (error.reason, "is a link" in error.message) == ("InvalidModel", True)


def test_a_weight_with_an_impossible_shape_is_a_sentence(tmp_path: Path, split: Path) -> None:
    proto = onnx.load(split, load_external_data=False)
    tensor = next(item for item in proto.graph.initializer if item.data_location == TensorProto.EXTERNAL)
    tensor.dims[0] = -1
    split.write_bytes(proto.SerializeToString())
    assert "no valid shape" in fail(split, tmp_path / "work").message
