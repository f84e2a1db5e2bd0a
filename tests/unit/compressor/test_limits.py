"""Real limits of memory and file size, set when the quantization tools begin: they end the task, and not a trial.

Short of memory, some of the tools say so and some crash; which of the two is a matter of chance.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from edgemodel_compressor.errors import NotApplicableError, TaskError, exhausted
from edgemodel_compressor.onnxmodel.runtime import optimize
from tests.unit.compressor import builders

SIDE = 2000
PROGRAM = """
import pathlib, resource, sys
from edgemodel_compressor import __main__ as program

def limited(work):
    from edgemodel_compressor.search import candidate_builder
    begin = candidate_builder.prepare

    def prepare(*arguments):
        kind, room = getattr(resource, sys.argv[1]), int(sys.argv[2])
        if kind == resource.RLIMIT_AS:
            room += int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(kind, (room, room))
        return begin(*arguments)

    candidate_builder.prepare = prepare
    return work()

supervised = program.supervised
program.supervised = lambda work, crashed: supervised(lambda: limited(work), crashed)
sys.exit(program.main(sys.argv[3:]))
"""


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    """A model of 16 MB."""
    weights = (np.random.default_rng(0).normal(size=(SIDE, SIDE)) / SIDE).astype(np.float32)
    proto = builders.model(
        [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", SIDE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", SIDE])],
        {"w": weights},
    )
    return builders.save(proto, tmp_path / "wide.onnx")


def run_limited(kind: str, room: int, model: Path, out: Path) -> "subprocess.CompletedProcess[str]":
    words = [sys.executable, "-c", PROGRAM, kind, str(room), str(model), "-o", str(out)]
    return subprocess.run(words, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("kind", "room", "lacking"), [("RLIMIT_FSIZE", 1_000_000, "disk space"), ("RLIMIT_AS", 36_000_000, "memory")]
)
def test_a_limit_inside_the_tools_is_one_sentence_and_no_output(
    tmp_path: Path, wide: Path, kind: str, room: int, lacking: str
) -> None:
    done = run_limited(kind, room, wide, tmp_path / "out")
    assert done.returncode == 2, done.stderr
    assert f"not enough {lacking}" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_file_that_a_tool_wrote_in_part_is_noticed(tmp_path: Path, wide: Path) -> None:
    """Shape inference adds shapes to the optimized model, and says nothing of what did not find room."""
    optimize(wide, tmp_path / "optimized.onnx", False)
    room = (tmp_path / "optimized.onnx").stat().st_size
    done = run_limited("RLIMIT_FSIZE", room, wide, tmp_path / "out")
    assert done.returncode == 2, done.stderr
    assert "There is not enough memory or disk space" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("message", "resource"),
    [
        ("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Exception during initialization: std::bad_alloc", "memory"),
        ("BFCArena::AllocateRawInternal Failed to allocate memory for requested buffer of size 64", "memory"),
        ("DefaultCPUAllocator: can't allocate memory: you tried to allocate 64 bytes", "memory"),
        ("[ONNXRuntimeError] : 7 : INVALID_PROTOBUF : Protobuf serialization failed.", "disk space"),
        ("the graph has a cycle", None),
    ],
)
def test_what_ran_out_is_told_from_the_message_of_the_cause(message: str, resource: str | None) -> None:
    error = TaskError("InvalidModel", "The model breaks the rules.")
    error.__cause__ = RuntimeError(message)
    assert exhausted(error) == resource


def test_a_sentence_of_ours_that_quotes_such_words_is_no_cause() -> None:
    assert exhausted(NotApplicableError("its node is named bad_alloc")) is None
