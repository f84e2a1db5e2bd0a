"""TorchScript: what its code may call, and what its inputs need to be told."""

import io
import re
import zipfile
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from edgemodel_compressor.errors import TaskError
from edgemodel_compressor.formats.torchscript import convert
from edgemodel_contract.task import TensorSpec
from tests.unit.compressor import programs

IMAGE = TensorSpec(name="x", datatype="FP32", shape=(-1, 1, 8, 8))


class Reader(nn.Module):
    """Carries off the bytes of a file."""

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.from_file("/etc/hostname", False, 1, dtype=torch.uint8).sum()


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return programs.save_script(tmp_path_factory.mktemp("script") / "m.pt")


def fail(path: Path, work: Path, *hints: TensorSpec, shown: tuple[TensorSpec, ...] = ()) -> TaskError:
    with pytest.raises(TaskError) as caught:
        convert(path, hints, shown, 1, work, 10**9)
    assert caught.value.message.endswith(".")
    assert "\n" not in caught.value.message
    return caught.value


def test_a_dataset_states_what_the_file_does_not(script: Path, tmp_path: Path) -> None:
    shown = (TensorSpec(name="image", datatype="FP32", shape=(-1, 1, 8, 8)),)
    target, difference = convert(script, (), shown, 1, tmp_path, 10**9)
    assert difference < 1e-5
    assert {file.name for file in tmp_path.iterdir()} == {target.name}


def test_without_a_shape_the_sentence_says_how_to_give_one(script: Path, tmp_path: Path) -> None:
    error = fail(script, tmp_path)
    assert (error.reason, "'x'" in error.message, "state it in inputs" in error.message) == ("InvalidTask", True, True)
    assert fail(script, tmp_path, TensorSpec(name="x", datatype="FP32", shape=(-1, 1, -1, 8))).reason == "InvalidTask"


def test_a_shape_that_does_not_fit_is_told_by_what_torch_says_of_it(script: Path, tmp_path: Path) -> None:
    error = fail(script, tmp_path, TensorSpec(name="x", datatype="FP32", shape=(-1, 1, 9, 9)))
    assert error.reason == "InvalidModel"
    assert "x [1, 1, 9, 9]" in error.message
    assert "cannot be multiplied" in error.message


def test_an_operator_that_reads_files_is_refused_before_it_is_loaded(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(Reader()), tmp_path / "m.pt")
    error = fail(tmp_path / "m.pt", tmp_path, TensorSpec(name="x", datatype="FP32", shape=(-1, 2)))
    assert (error.reason, "from_file" in error.message) == ("UnsupportedModel", True)


@pytest.mark.parametrize(
    "call",
    [
        "ops.mylib.steal(",
        "ops . mylib.steal(",
        "(torch.from_file)(",
        "torch.from_file\\\n(",
        "torch.save(",
        "torch. \\\n save(",
        "__torch__.torch.classes.mylib.Thief(",
    ],
)
def test_operators_that_do_more_than_compute_are_refused(script: Path, tmp_path: Path, call: str) -> None:
    path = tmp_path / "m.pt"
    with zipfile.ZipFile(script) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name.endswith(".py"):
                content = re.sub(r"torch\.relu_?\(|torch\.flatten\(", lambda _: call, content.decode()).encode()
            target.writestr(name, content)
    error = fail(path, tmp_path, IMAGE)
    assert (error.reason, "no operator that computes" in error.message) == ("UnsupportedModel", True)


def test_modules_may_have_names_that_sound_like_it(tmp_path: Path) -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.ops = nn.ModuleDict({"mylib": nn.Linear(4, 4)})

        def forward(self, x: Tensor) -> Tensor:
            scores: Tensor = self.ops["mylib"](x)
            return scores

    torch.jit.save(torch.jit.script(Named().eval()), tmp_path / "m.pt")
    hint = TensorSpec(name="x", datatype="FP32", shape=(-1, 4))
    assert convert(tmp_path / "m.pt", (hint,), (), 1, tmp_path, 10**9)[1] < 1e-5


def test_doubles_of_a_dataset_are_taken_for_singles(script: Path, tmp_path: Path) -> None:
    shown = (TensorSpec(name="x", datatype="FP64", shape=(-1, 1, 8, 8)),)
    assert convert(script, (), shown, 1, tmp_path, 10**9)[1] < 1e-5


def test_damage_is_a_sentence(script: Path, tmp_path: Path) -> None:
    whole = script.read_bytes()
    path = tmp_path / "m.pt"
    path.write_bytes(whole[: len(whole) // 2])
    assert "cut short" in fail(path, tmp_path, IMAGE).message
    stream = io.BytesIO()
    with zipfile.ZipFile(script) as source, zipfile.ZipFile(stream, "w") as target:
        for name in source.namelist():
            target.writestr(name, b"def" if name.endswith(".py") else source.read(name))
    path.write_bytes(stream.getvalue())
    assert "cannot be read by torch" in fail(path, tmp_path, IMAGE).message


def test_what_takes_no_tensors_is_not_supported(tmp_path: Path) -> None:
    class Count(nn.Module):
        def forward(self, x: Tensor, times: int) -> Tensor:
            return x * times

    torch.jit.save(torch.jit.script(Count()), tmp_path / "m.pt")
    error = fail(tmp_path / "m.pt", tmp_path, IMAGE)
    assert (error.reason, "'times'" in error.message) == ("UnsupportedModel", True)
