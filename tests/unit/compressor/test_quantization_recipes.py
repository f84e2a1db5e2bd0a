"""Every recipe on real small models: what it stores, how close it stays, what it refuses, and the same bytes again."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import TensorProto, helper, numpy_helper

from edgemodel_compressor.errors import NotApplicableError
from edgemodel_compressor.graph.prune import prune
from edgemodel_compressor.graph.quantization.apply import quantize
from edgemodel_compressor.graph.quantization.calibration.calibration import Calibration, calibrate
from edgemodel_compressor.graph.quantization.cpu import target_cpu
from edgemodel_compressor.graph.quantization.methods import static
from edgemodel_compressor.graph.quantization.methods.weight_only import pack, quantize_blocks
from edgemodel_compressor.graph.quantization.mixed_precision.sensitivity import noise_ratio
from edgemodel_compressor.graph.quantization.prepare import prepare
from edgemodel_compressor.graph.quantization.recipe import QuantizationRecipe
from edgemodel_compressor.graph.weights import share_depthwise, sparsity
from edgemodel_compressor.onnxmodel import modelfile
from edgemodel_compressor.onnxmodel.runtime import Array, Feed, Session, optimize
from edgemodel_contract.task import Pruning
from tests.architectures import export
from tests.unit.compressor import builders, transformers

IMAGES = builders.blobs(60, (1, 12, 12))[0]
VECTORS = builders.blobs(60, (48,))[0]

RECIPES = (
    QuantizationRecipe("Dynamic"),
    QuantizationRecipe("Dynamic", fused=True),
    QuantizationRecipe("Dynamic", float_storage="fp16"),
    QuantizationRecipe("Static"),
    QuantizationRecipe("Static", calibration="Entropy"),
    QuantizationRecipe("Static", calibration="Percentile"),
    QuantizationRecipe("Static", per_channel=False),
    QuantizationRecipe("WeightOnly"),
    QuantizationRecipe("WeightOnly", bits=4, float_storage="fp16"),
    QuantizationRecipe("FP16"),
    QuantizationRecipe("FP16", fused=True),
)


def image_feeds(count: int = 40) -> Iterator[Feed]:
    return ({"image": IMAGES[index : index + 1]} for index in range(count))


def vector_feeds(count: int = 40) -> Iterator[Feed]:
    return ({"x": VECTORS[index : index + 1]} for index in range(count))


def token_feeds(count: int = 16) -> Iterator[Feed]:
    return (transformers.tokens(seed=index) for index in range(count))


def outputs(path: Path, feeds: Iterator[Feed]) -> list[Array]:
    session = Session(path, 1, widened=True)
    return [session.run(feed)[0] for feed in feeds]


def make(source: Path, recipe: QuantizationRecipe, calibration: Calibration | None, folder: Path) -> Path:
    target = folder / f"{recipe.name}.onnx"
    quantize(source, target, recipe, calibration, target_cpu("AVX512VNNI"), folder)
    return target


def operators(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    return builders.save(transformers.encoder(), tmp_path / "encoder.onnx")


def test_every_recipe_on_a_transformer_is_smaller_and_close(encoder: Path, tmp_path: Path) -> None:
    calibration = calibrate(encoder, token_feeds(), tmp_path)
    truth = outputs(encoder, token_feeds())
    for recipe in RECIPES:
        path = make(encoder, recipe, calibration, tmp_path)
        share = path.stat().st_size / encoder.stat().st_size
        noise = noise_ratio(truth, outputs(path, token_feeds()))
        least, most = {"FP16": (0.48, 1e-5), "WeightOnly": (0.3, 2e-2)}.get(recipe.method, (0.33, 2e-3))
        assert share < least + 0.05, recipe.name
        assert noise < most, recipe.name
        onnx.checker.check_model(onnx.load(path))


@pytest.mark.parametrize(
    ("recipe", "name"),
    [
        (QuantizationRecipe("Static"), "static-int8"),
        (QuantizationRecipe("Static", calibration="Entropy"), "static-int8-entropy"),
        (QuantizationRecipe("Static", per_channel=False, excluded=("a", "b")), "static-int8-tensor-mixed2"),
        (QuantizationRecipe("Dynamic", fused=True, float_storage="fp16"), "dynamic-int8-fused-half"),
        (QuantizationRecipe("WeightOnly", bits=4), "weight-int4"),
        (QuantizationRecipe("WeightOnly"), "weight-int8"),
        (QuantizationRecipe("FP16"), "fp16"),
    ],
)
def test_names(recipe: QuantizationRecipe, name: str) -> None:
    assert recipe.name == name


def test_no_two_recipes_share_a_name() -> None:
    assert len({recipe.name for recipe in RECIPES}) == len(RECIPES)


def test_four_bits_are_for_weights_only() -> None:
    with pytest.raises(ValueError, match="WeightOnly"):
        QuantizationRecipe("Static", bits=4)


def test_another_process_writes_the_same_bytes(encoder: Path, tmp_path: Path) -> None:
    """Hash seeds differ between processes: what a set orders, they order differently."""
    here = calibrate(encoder, token_feeds(), tmp_path)
    made = {recipe.name: make(encoder, recipe, here, tmp_path).read_bytes() for recipe in RECIPES}
    script = (
        "import sys; from pathlib import Path; from tests.unit.compressor import test_quantization_recipes as t\n"
        "source, folder = Path(sys.argv[1]), Path(sys.argv[2])\n"
        "calibration = t.calibrate(source, t.token_feeds(), folder)\n"
        "for recipe in t.RECIPES: t.make(source, recipe, calibration, folder)"
    )
    folder = tmp_path / "other"
    folder.mkdir()
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    command = [sys.executable, "-c", script, str(encoder), str(folder)]
    subprocess.run(command, env=environment, check=True, cwd=Path(__file__).parents[3])
    assert {recipe.name: (folder / f"{recipe.name}.onnx").read_bytes() for recipe in RECIPES} == made


def test_a_prepared_model_gives_the_same_as_its_source(encoder: Path, tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    prepared = prepare(encoder, tmp_path)
    assert prepare(prepared, tmp_path) == prepared
    recipe = QuantizationRecipe("Dynamic")
    first = make(encoder, recipe, None, tmp_path)
    second = tmp_path / "again" / "model.onnx"
    quantize(prepared, second, recipe, None, target_cpu("AVX512VNNI"), tmp_path)
    assert first.read_bytes() == second.read_bytes()


def test_scores_are_not_rounded_to_256_levels(shared: Path, tmp_path: Path) -> None:
    source = shared / "mlp.onnx"
    path = make(source, QuantizationRecipe("Static"), calibrate(source, vector_feeds(), tmp_path), tmp_path)
    graph = onnx.load(path).graph
    last = next(node for node in graph.node if graph.output[0].name in node.output)
    assert last.op_type == "Gemm"
    noise = noise_ratio(outputs(source, vector_feeds()), outputs(path, vector_feeds()))
    assert noise < 1e-3


def test_biases_are_stored_as_the_floats_they_stand_for(shared: Path, tmp_path: Path) -> None:
    source = shared / "conv.onnx"
    path = make(source, QuantizationRecipe("Static"), calibrate(source, image_feeds(), tmp_path), tmp_path)
    stored = [tensor for tensor in onnx.load(path).graph.initializer if tensor.data_type == TensorProto.INT32]
    assert not stored


def test_bias_correction_takes_noise_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where channels of very different size share a scale, rounding moves the mean of the small ones."""
    model = builders.convnet()
    kernels = next(tensor for tensor in model.graph.initializer if tensor.name == "k2")
    values = numpy_helper.to_array(kernels) * np.geomspace(0.02, 1, 24, dtype=np.float32)[:, None, None, None]
    kernels.CopyFrom(numpy_helper.from_array(values.astype(np.float32), "k2"))
    source = builders.save(model, tmp_path / "uneven.onnx")
    calibration = calibrate(source, image_feeds(), tmp_path)
    recipe = QuantizationRecipe("Static", per_channel=False)
    truth = outputs(source, image_feeds())
    corrected = noise_ratio(truth, outputs(make(source, recipe, calibration, tmp_path), image_feeds()))
    monkeypatch.setattr(static, "correct_biases", lambda *_: None)
    plain = noise_ratio(truth, outputs(make(source, recipe, calibration, tmp_path), image_feeds()))
    assert corrected < 0.8 * plain


def test_excluded_nodes_stay_float(encoder: Path, tmp_path: Path) -> None:
    calibration = calibrate(encoder, token_feeds(), tmp_path)
    for method in ("Dynamic", "Static", "WeightOnly"):
        recipe = QuantizationRecipe(method, excluded=("f1_matmul",))
        model = onnx.load(make(encoder, recipe, calibration, tmp_path))
        kept = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
        assert kept["f1.w"] == TensorProto.FLOAT
        assert "f2.w" not in kept


def test_between_float_operators_nothing_is_quantized(shared: Path, tmp_path: Path) -> None:
    source = shared / "conv.onnx"
    calibration = calibrate(source, image_feeds(), tmp_path)
    recipe = QuantizationRecipe("Static", excluded=("conv1", "conv2"))
    model = onnx.load(make(source, recipe, calibration, tmp_path))
    producers = {node.output[0]: node.op_type for node in model.graph.node}
    assert all(producers[node.input[0]] != "QuantizeLinear" for node in model.graph.node if node.op_type == "MaxPool")
    everything = QuantizationRecipe("Static", excluded=("conv1", "conv2", "head"))
    with pytest.raises(NotApplicableError, match="no operator left"):
        make(source, everything, calibration, tmp_path)


def test_weight_only_takes_gemm_and_embeddings(shared: Path, encoder: Path, tmp_path: Path) -> None:
    for bits in (8, 4):
        recipe = QuantizationRecipe("WeightOnly", bits=bits)
        assert operators(make(shared / "mlp.onnx", recipe, None, tmp_path)).count("MatMulNBits") == 1
        assert operators(make(encoder, recipe, None, tmp_path)).count("GatherBlockQuantized") == 1


@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 4), st.integers(1, 70)),
        elements=st.floats(-1000, 1000, width=32, allow_subnormal=False),
    ),
    st.sampled_from([4, 8]),
    st.sampled_from([16, 32]),
)
def test_blocks_hold_every_weight_within_a_step(values: builders.Floats, bits: int, block: int) -> None:
    integers, scales = quantize_blocks(values, bits, block)
    restored = (integers.astype(np.float64) - 2 ** (bits - 1)) * scales[:, :, None]
    restored = restored.reshape(len(values), -1)[:, : values.shape[1]]
    steps = np.repeat(np.abs(scales), block, axis=1)[:, : values.shape[1]]
    # Half a step, but a whole one at the end of the range that has one integer less.
    assert np.all(np.abs(restored - values) <= steps * 1.001 + 1e-30)
    packed = pack(integers, bits)
    assert packed.size == integers.size * bits // 8
    if bits == 4:
        assert np.array_equal(np.stack([packed & 15, packed >> 4], axis=-1).reshape(integers.shape), integers)


def test_zeros_are_counted_however_weights_are_stored(shared: Path, tmp_path: Path) -> None:
    model = onnx.load(shared / "mlp.onnx")
    prune(model, Pruning(sparsity=0.6, scope="Layer"))
    pruned = builders.save(model, tmp_path / "pruned.onnx")
    first = onnx.load(pruned)
    for tensor in first.graph.initializer:
        if tensor.name == "w2":
            before = float(np.mean(numpy_helper.to_array(tensor) == 0))
    for recipe in (QuantizationRecipe("FP16"), QuantizationRecipe("WeightOnly")):
        measured = sparsity(onnx.load(make(pruned, recipe, None, tmp_path)))
        assert measured is not None
        assert before - 0.01 < measured < before + 0.05


def test_kernels_stored_as_integers_are_a_quarter_of_the_bytes_and_compute_as_floats(
    tmp_path: Path,
) -> None:
    source = builders.save(builders.convnet(channels=96), tmp_path / "conv.onnx")
    path = make(source, QuantizationRecipe("WeightOnly"), None, tmp_path)
    assert path.stat().st_size < 0.4 * source.stat().st_size
    assert noise_ratio(outputs(source, image_feeds()), outputs(path, image_feeds())) < 1e-3
    loaded = tmp_path / "loaded.onnx"
    optimize(path, loaded, False)
    left = operators(loaded)
    assert "Cast" not in left, "the runtime widens them once, as it loads"
    assert "Mul" not in left
    zeros, of = sparsity(onnx.load(path)), sparsity(onnx.load(source))
    assert zeros is not None
    assert of is not None
    assert of <= zeros < of + 0.05


@pytest.mark.parametrize(("model", "share"), [(builders.convnet(), 0.0), (builders.mlp(), 0.0)], ids=["convnet", "mlp"])
def test_networks_without_depthwise_convolutions(model: onnx.ModelProto, share: float) -> None:
    assert share_depthwise(model) == share


def test_a_third_of_the_convolutions_of_a_mobilenet_is_depthwise() -> None:
    assert share_depthwise(export("mobilenet_v2", "torchscript", 17)) == pytest.approx(1 / 3, abs=0.02)


def test_half_precision_keeps_what_it_cannot_hold(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    model = builders.model(
        [
            helper.make_node("MatMul", ["x", "large"], ["y"], name="large"),
            helper.make_node("MatMul", ["y", "usual"], ["z"], name="usual"),
        ],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 16])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, 16])],
        weights={
            "large": (rng.normal(size=(16, 16)) * 1e6).astype(np.float32),
            "usual": rng.normal(size=(16, 16)).astype(np.float32),
        },
    )
    source = builders.save(model, tmp_path / "large.onnx")
    path = make(source, QuantizationRecipe("FP16"), None, tmp_path)
    types = {tensor.name: tensor.data_type for tensor in onnx.load(path).graph.initializer}
    assert types["large"] == TensorProto.FLOAT
    assert types["usual_fp16"] == TensorProto.FLOAT16


@pytest.mark.parametrize(
    ("recipe", "sentence"),
    [
        (QuantizationRecipe("WeightOnly"), "no MatMul, Gemm, Gather or Conv"),
        (QuantizationRecipe("FP16"), "no FP32 weights"),
        (QuantizationRecipe("Static"), "no operator left"),
        (QuantizationRecipe("Dynamic"), "no operator that integers"),
    ],
)
def test_a_model_without_weights_is_refused(recipe: QuantizationRecipe, sentence: str, tmp_path: Path) -> None:
    model = builders.model(
        [helper.make_node("Sin", ["x"], ["y"])],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 48])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 48])],
    )
    source = builders.save(model, tmp_path / "sin.onnx")
    calibration = calibrate(source, vector_feeds(), tmp_path)
    with pytest.raises(NotApplicableError, match=sentence):
        make(source, recipe, calibration, tmp_path)


def test_static_without_calibration_is_a_mistake(shared: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="calibration"):
        make(shared / "mlp.onnx", QuantizationRecipe("Static"), None, tmp_path)


def test_external_data_is_read(encoder: Path, tmp_path: Path) -> None:
    source = tmp_path / "apart" / "encoder.onnx"
    source.parent.mkdir()
    onnx.save_model(onnx.load(encoder), source, save_as_external_data=True, location="weights.bin", size_threshold=0)
    work = tmp_path / "work"
    work.mkdir()
    calibration = calibrate(source, token_feeds(), work)
    truth = outputs(encoder, token_feeds())
    for recipe in RECIPES:
        path = make(source, recipe, calibration, work)
        assert noise_ratio(truth, outputs(path, token_feeds())) < 2e-2


def test_a_model_too_large_for_one_file_keeps_its_weights_beside_it(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(modelfile, "SINGLE_FILE_LIMIT", 100_000)
    calibration = calibrate(encoder, token_feeds(), tmp_path)
    truth = outputs(encoder, token_feeds())
    for recipe in (QuantizationRecipe("FP16"), QuantizationRecipe("Dynamic"), QuantizationRecipe("Static")):
        path = make(encoder, recipe, calibration, tmp_path)
        assert noise_ratio(truth, outputs(path, token_feeds())) < 2e-3
    assert (tmp_path / "fp16.onnx.data").exists()


def test_dynamic_quantization_leaves_the_attention_of_onnx_as_it_is(tmp_path: Path) -> None:
    """It has the name of onnxruntime's, which QAttention replaces, but takes query, key and value."""
    rng = np.random.default_rng(0)
    width = 32
    proto = builders.model(
        [
            *(helper.make_node("MatMul", ["x", f"w{name}"], [name], name=f"project_{name}") for name in "qkv"),
            helper.make_node("Attention", ["q", "k", "v"], ["mixed"], name="mix", q_num_heads=4, kv_num_heads=4),
            helper.make_node("MatMul", ["mixed", "wo"], ["y"], name="out"),
        ],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 8, width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 8, width])],
        {f"w{name}": (rng.normal(size=(width, width)) / 6).astype(np.float32) for name in "qkvo"},
        opsets=[helper.make_opsetid("", 23)],
    )
    proto.ir_version = 11
    source = builders.save(proto, tmp_path / "attention.onnx")
    feed = {"x": rng.normal(size=(2, 8, width)).astype(np.float32)}
    path = make(source, QuantizationRecipe("Dynamic"), None, tmp_path)
    assert operators(path).count("Attention") == 1
    assert operators(path).count("MatMulInteger") == 4
    assert noise_ratio(outputs(source, iter([feed])), outputs(path, iter([feed]))) < 2e-2
    with pytest.raises(NotApplicableError, match="no attention that could be fused"):
        make(source, QuantizationRecipe("Dynamic", fused=True), None, tmp_path)
