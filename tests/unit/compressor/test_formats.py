"""What a source is, told from its bytes; and what is said of those that are nothing, or something else."""

import math
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edgemodel_compressor.errors import TaskError
from edgemodel_compressor.formats.detect import Found, detect, needs_unpacking
from edgemodel_compressor.formats.source import load_source
from edgemodel_compressor.formats.verify import relative_difference, verify
from edgemodel_compressor.onnxmodel.model import Model
from edgemodel_compressor.onnxmodel.runtime import Array, Session
from edgemodel_contract.task import Format, TensorSpec
from tests.unit.compressor import builders, programs
from tests.unit.compressor.test_archive import tar_files, zip_files
from tests.unit.compressor.test_external_data import two_files


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of each file."""
    folder = tmp_path_factory.mktemp("made")
    builders.save(builders.mlp(), folder / "m.onnx")
    programs.save_program(folder / "m.pt2")
    programs.save_script(folder / "m.pt")
    programs.save_checkpoint(folder / "weights.pth")
    return folder


def load(path: Path, work: Path, stated: Format | None = None, *hints: TensorSpec) -> Model:
    work.mkdir(exist_ok=True)
    return load_source(path, "0" * 64, stated, hints, lambda: (), 1, work, 10**9)


def fail(path: Path, stated: Format | None = None) -> TaskError:
    with pytest.raises(TaskError) as caught:
        needs_unpacking(path) or detect(path, stated)
    assert caught.value.message.endswith(".")
    assert "\n" not in caught.value.message
    assert caught.value.reason == "InvalidModel"
    return caught.value


class TestDetection:
    @pytest.mark.parametrize(
        ("name", "found"), [("m.onnx", "ONNX"), ("m.pt2", "ExportedProgram"), ("m.pt", "TorchScript")]
    )
    def test_the_bytes_tell_and_not_the_name(self, made: Path, tmp_path: Path, name: str, found: Format) -> None:
        path = tmp_path / "anything"
        path.write_bytes((made / name).read_bytes())
        assert detect(path, None) == Found(found, path)
        assert not needs_unpacking(path)

    def test_a_folder_is_what_it_holds(self, tmp_path: Path) -> None:
        path = two_files(tmp_path / "folder", "data/weights.bin")
        assert detect(tmp_path / "folder", None) == Found("ONNX", path)

    def test_a_format_that_contradicts_the_bytes_is_named(self, made: Path) -> None:
        message = fail(made / "m.onnx", "TorchScript").message
        assert "said to be TorchScript" in message
        assert "ONNX" in message

    def test_several_models_are_one_too_many_unless_the_format_says_which(self, made: Path) -> None:
        assert "3 models (m.onnx, m.pt, m.pt2)" in fail(made).message
        assert detect(made, "ExportedProgram").path == made / "m.pt2"

    def test_a_checkpoint_is_refused_with_how_to_export_it(self, made: Path, tmp_path: Path) -> None:
        assert "torch.export.save" in fail(made / "weights.pth").message
        (tmp_path / "old.pth").write_bytes(pickle.dumps({"w": 1}))
        assert "only pickled weights (old.pth)" in fail(tmp_path).message

    def test_a_folder_without_a_model_says_what_is_needed(self, tmp_path: Path) -> None:
        (tmp_path / "README.md").write_text("read me")
        assert "no model among its 1 files" in fail(tmp_path).message


class TestSource:
    @pytest.mark.parametrize("kind", ["folder", "tar", "tar.gz", "zip"])
    def test_onnx_in_two_files_arrives_in_any_wrapping(self, tmp_path: Path, kind: str) -> None:
        source = two_files(tmp_path / "folder").parent
        files = {f"net/{path.name}": path.read_bytes() for path in source.iterdir()}
        if kind == "zip":
            source = zip_files(tmp_path / "source", files)
        elif kind != "folder":
            source = tar_files(tmp_path / "source", files, "w:gz" if kind == "tar.gz" else "w")
        model = load(source, tmp_path / "work")
        assert model.source_format == "ONNX"
        assert model.inputs == (TensorSpec(name="x", datatype="FP32", shape=(-1, 48)),)

    def test_a_single_file_is_used_as_it_is(self, made: Path, tmp_path: Path) -> None:
        assert load(made / "m.onnx", tmp_path / "work").path == made / "m.onnx"
        assert list((tmp_path / "work").iterdir()) == []

    @pytest.mark.parametrize("name", ["m.pt2", "m.pt"])
    def test_torch_programs_become_onnx_with_the_same_answers(self, made: Path, tmp_path: Path, name: str) -> None:
        hint = TensorSpec(name="x", datatype="FP32", shape=(-1, 1, 8, 8))
        model = load(made / name, tmp_path / "work", None, hint)
        assert model.inputs == (hint,)
        assert [output.name for output in model.outputs] == ["output"]
        assert model.difference is not None
        assert model.difference < 1e-5
        values = np.random.default_rng(0).normal(size=(5, 1, 8, 8)).astype(np.float32)
        wanted = programs.Net().eval()(torch.from_numpy(values)).detach().numpy()
        assert np.allclose(Session(model.path, 1).run({"x": values})[0], wanted, atol=1e-5)

    @pytest.mark.parametrize("name", ["m.pt2", "m.pt"])
    def test_the_same_program_gives_the_same_bytes(self, made: Path, tmp_path: Path, name: str) -> None:
        hint = TensorSpec(name="x", datatype="FP32", shape=(-1, 1, 8, 8))
        first, second = (load(made / name, tmp_path / work, None, hint).path.read_bytes() for work in "ab")
        assert first == second
        assert str(tmp_path).encode() not in first
        assert b"site-packages" not in first


class TestVerification:
    @given(arrays.arrays(np.float32, (3, 4), elements=st.floats(-100, 100, width=32)), st.floats(0, 0.5))
    def test_the_difference_is_relative_to_the_largest_value(self, values: Array, share: float) -> None:
        moved = values.copy()
        scale = float(np.abs(values).max())
        moved[0, 0] += np.float32(share * scale)
        assert relative_difference([values], [moved]) == pytest.approx(share if scale else 0, abs=1e-3)

    @pytest.mark.parametrize(
        ("wanted", "got"),
        [
            ([np.zeros(2)], []),
            ([np.zeros(2)], [np.zeros((2, 1))]),
            ([np.zeros(2)], [np.array([0, np.nan])]),
            ([np.array([0, np.inf])], [np.zeros(2)]),
        ],
    )
    def test_other_shapes_and_lost_values_differ_without_bound(self, wanted: list[Array], got: list[Array]) -> None:
        assert math.isinf(relative_difference(wanted, got))

    def test_an_export_that_answers_differently_is_refused_and_says_how_much(self, made: Path) -> None:
        feed = {"x": builders.blobs(2, (48,))[0]}
        right = Session(made / "m.onnx", 1).run(feed)
        assert verify(made / "m.onnx", lambda _: right, [feed], 1) == 0
        with pytest.raises(TaskError, match=r"by 0\.02 of its largest output") as caught:
            verify(made / "m.onnx", lambda _: [right[0] * 1.02], [feed], 1)
        assert caught.value.reason == "UnsupportedModel"
