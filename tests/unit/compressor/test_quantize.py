"""Quantization by ONNX Runtime's tool: smaller, close to the original, the same bytes on every run."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgemodel_compressor.errors import NotApplicableError
from edgemodel_compressor.graph.prune import prune
from edgemodel_compressor.graph.quantization.apply import quantize
from edgemodel_compressor.graph.quantization.calibration.calibration import calibrate
from edgemodel_compressor.graph.quantization.cpu import CpuTarget, target_cpu
from edgemodel_compressor.graph.quantization.recipe import QuantizationRecipe
from edgemodel_compressor.graph.weights import sparsity
from edgemodel_compressor.onnxmodel.runtime import Array, Feed, Session
from edgemodel_contract.task import Pruning
from tests.unit.compressor import builders

IMAGES = builders.blobs(120, (1, 12, 12))


def feeds(name: str = "image", values: Array = IMAGES[0]) -> Iterator[Feed]:
    return ({name: values[index : index + 1]} for index in range(64))


def static(source: Path, folder: Path, cpu: CpuTarget = "Any") -> Path:
    target = folder / "static.onnx"
    calibration = calibrate(source, feeds(), folder)
    quantize(source, target, QuantizationRecipe("Static"), calibration, target_cpu(cpu), folder)
    return target


def dynamic(source: Path, folder: Path, cpu: CpuTarget = "Any") -> Path:
    target = folder / "dynamic.onnx"
    quantize(source, target, QuantizationRecipe("Dynamic"), None, target_cpu(cpu), folder)
    return target


def accuracy(path: Path, name: str, values: Array, labels: Array) -> float:
    session = Session(path, 1)
    answers = [int(session.run({name: values[i : i + 1]})[0].argmax()) for i in range(len(values))]
    return float(np.mean(np.array(answers) == labels))


def operators(path: Path) -> set[str]:
    return {node.op_type for node in onnx.load(path).graph.node}


@pytest.fixture
def conv(shared: Path) -> Path:
    return shared / "conv.onnx"


def test_static_takes_a_mean_over_axes_given_as_an_input(tmp_path: Path) -> None:
    """As torch's exporter writes global average pooling since opset 18."""
    rng = np.random.default_rng(3)
    proto = builders.model(
        [
            helper.make_node("Conv", ["image", "kernel"], ["maps"], name="conv", kernel_shape=[3, 3]),
            helper.make_node("ReduceMean", ["maps", "axes"], ["pooled"], name="mean", keepdims=0),
            helper.make_node("Gemm", ["pooled", "head"], ["scores"], name="head"),
        ],
        inputs=[helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, 12, 12])],
        outputs=[helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 3])],
        weights={
            "kernel": rng.normal(size=(24, 1, 3, 3)).astype(np.float32),
            "head": rng.normal(size=(24, 3)).astype(np.float32),
        },
        opsets=[helper.make_opsetid("", 18)],
    )
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array([2, 3], np.int64), "axes"))
    source = builders.save(proto, tmp_path / "mean.onnx")
    quantized = static(source, tmp_path)
    assert "QuantizeLinear" in operators(quantized)
    before, after = (Session(path, 1).run({"image": IMAGES[0][:1]})[0] for path in (source, quantized))
    assert np.abs(before - after).max() < 0.1 * np.abs(before).max()


def test_static_is_qdq_per_channel_and_close(conv: Path, tmp_path: Path) -> None:
    quantized = static(conv, tmp_path)
    assert {"QuantizeLinear", "DequantizeLinear"} <= operators(quantized)
    scales = [
        tensor
        for tensor in onnx.load(quantized).graph.initializer
        if tensor.name.startswith("k2") and "scale" in tensor.name
    ]
    assert max(int(np.prod(scale.dims)) for scale in scales) == 24
    assert quantized.stat().st_size < 0.5 * conv.stat().st_size
    assert accuracy(quantized, "image", *IMAGES) > accuracy(conv, "image", *IMAGES) - 0.03


def spread(path: Path) -> int:
    """The largest difference between two integers of one weight."""
    weights = [
        onnx.numpy_helper.to_array(tensor).astype(int)
        for tensor in onnx.load(path).graph.initializer
        if tensor.name.endswith("_quantized") and len(tensor.dims) > 1
    ]
    return max(int(values.max() - values.min()) for values in weights)


def test_weights_have_seven_bits_so_that_no_cpu_saturates(conv: Path, tmp_path: Path) -> None:
    for cpu in ("Any", "AVX2"):
        assert spread(static(conv, tmp_path, cpu)) <= 128
        assert spread(dynamic(conv, tmp_path, cpu)) <= 128


def test_weights_have_eight_bits_where_the_cpu_does_not_saturate(conv: Path, tmp_path: Path) -> None:
    assert spread(static(conv, tmp_path, "AVX512VNNI")) > 200
    assert spread(dynamic(conv, tmp_path, "AVX512VNNI")) > 200


def test_dynamic_covers_convolutions_and_matrices(conv: Path, tmp_path: Path) -> None:
    quantized = dynamic(conv, tmp_path)
    assert {"ConvInteger", "MatMulInteger"} <= operators(quantized)
    assert quantized.stat().st_size < 0.5 * conv.stat().st_size
    assert accuracy(quantized, "image", *IMAGES) > accuracy(conv, "image", *IMAGES) - 0.03


def test_a_scale_per_column_keeps_what_one_scale_rounds_away(tmp_path: Path) -> None:
    """Columns a hundred times as large as others, as in the projections of encoders."""
    weight = np.random.default_rng(0).normal(size=(64, 32)).astype(np.float32)
    weight[:, ::8] *= 100
    source = builders.save(
        builders.model(
            [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")],
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 64])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 32])],
            {"w": weight},
        ),
        tmp_path / "source.onnx",
    )
    feed = {"x": np.random.default_rng(1).normal(size=(16, 64)).astype(np.float32)}
    (truth,) = Session(source, 1).run(feed)
    errors = []
    for recipe in (QuantizationRecipe("Dynamic"), QuantizationRecipe("Dynamic", columns=True)):
        target = tmp_path / f"{recipe.name}.onnx"
        quantize(source, target, recipe, None, target_cpu(), tmp_path)
        (answer,) = Session(target, 1).run(feed)
        small = np.arange(32) % 8 > 0
        errors.append(float(np.abs(answer - truth)[:, small].mean() / np.abs(truth)[:, small].mean()))
    assert errors[1] < errors[0] / 5


def test_zeros_stay_zeros(conv: Path, tmp_path: Path) -> None:
    model = onnx.load(conv)
    prune(model, Pruning(sparsity=0.6, scope="Layer"))
    pruned = builders.save(model, tmp_path / "pruned.onnx")
    for path in (static(pruned, tmp_path), dynamic(pruned, tmp_path)):
        measured = sparsity(onnx.load(path))
        assert measured is not None
        assert 0.595 <= measured < 0.75


def test_no_trace_of_tools_is_left(conv: Path, tmp_path: Path) -> None:
    for path in (static(conv, tmp_path), dynamic(conv, tmp_path)):
        model = onnx.load(path)
        assert not model.metadata_props
        assert model.producer_name == ""
        assert {opset.domain for opset in model.opset_import} <= {"", "com.microsoft"}
        onnx.checker.check_model(model)


def test_another_process_writes_the_same_bytes(conv: Path, tmp_path: Path) -> None:
    """Hash seeds differ between processes: what a set orders, they order differently."""
    script = (
        "import sys; from pathlib import Path; from tests.unit.compressor import test_quantize as t\n"
        "source, folder = Path(sys.argv[1]), Path(sys.argv[2]); t.static(source, folder); t.dynamic(source, folder)"
    )
    static(conv, tmp_path)
    dynamic(conv, tmp_path)
    folder = tmp_path / "other"
    folder.mkdir()
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    command = [sys.executable, "-c", script, str(conv), str(folder)]
    subprocess.run(command, env=environment, check=True, cwd=Path(__file__).parents[3])
    for name in ("static.onnx", "dynamic.onnx"):
        assert (folder / name).read_bytes() == (tmp_path / name).read_bytes()


def test_an_old_opset_is_raised(tmp_path: Path) -> None:
    model = builders.mlp()
    model.opset_import[0].version = 11
    source = builders.save(model, tmp_path / "old.onnx")
    values, labels = builders.blobs(100, (48,))
    target = tmp_path / "static.onnx"
    calibration = calibrate(source, feeds("x", values), tmp_path)
    quantize(source, target, QuantizationRecipe("Static"), calibration, target_cpu(), tmp_path)
    assert accuracy(target, "x", values, labels) > 0.85


def test_a_model_with_nothing_to_quantize_says_so(tmp_path: Path) -> None:
    model = builders.model(
        [helper.make_node("Sin", ["x"], ["y"])],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])],
    )
    source = builders.save(model, tmp_path / "sin.onnx")
    with pytest.raises(NotApplicableError, match="no operator"):
        dynamic(source, tmp_path)


def test_what_the_tool_stumbles_on_is_explained(tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"\x08\x08")
    with pytest.raises(NotApplicableError):
        dynamic(broken, tmp_path)
