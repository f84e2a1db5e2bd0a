"""What the CPU that will serve asks of a quantized graph."""

import platform
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from edgemodel_compressor.data.dataset import Dataset
from edgemodel_compressor.graph.quantization import cpu as cpu_module
from edgemodel_compressor.graph.quantization.apply import quantize
from edgemodel_compressor.graph.quantization.calibration.calibration import calibrate
from edgemodel_compressor.graph.quantization.cpu import CpuTarget, TargetCpu, read_host, target_cpu
from edgemodel_compressor.graph.quantization.mixed_precision.sensitivity import noise_ratio
from edgemodel_compressor.graph.quantization.recipe import QuantizationRecipe
from edgemodel_compressor.onnxmodel.model import load_model
from edgemodel_compressor.onnxmodel.runtime import Feed, Session
from edgemodel_compressor.progress import Span
from edgemodel_compressor.search.engine import compress
from edgemodel_compressor.search.evaluation import Job
from edgemodel_compressor.settings import Settings
from edgemodel_contract.task import Quantization, Recipe
from tests.unit.compressor import builders

X86 = "processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: fpu sse2 avx2 avx512f {}\n"
ARM = "processor\t: 0\nBogoMIPS\t: 243.75\nFeatures\t: fp asimd evtstrm {}\n"
VALUES = builders.blobs(60, (48,))[0]


def feeds() -> Iterator[Feed]:
    return ({"x": VALUES[index : index + 1]} for index in range(40))


@pytest.mark.parametrize(
    ("name", "reduce_range", "signed"),
    [("Any", True, False), ("AVX2", True, False), ("AVX512VNNI", False, False), ("ARM64", False, True)],
)
def test_levels(name: CpuTarget, reduce_range: bool, signed: bool) -> None:
    cpu = target_cpu(name)
    assert (cpu.name, cpu.reduce_range, cpu.signed_activations) == (name, reduce_range, signed)


@pytest.mark.parametrize(
    ("cpuinfo", "machine", "reduce_range", "signed"),
    [
        (X86.format(""), "x86_64", True, False),
        (X86.format("avx512_vnni"), "x86_64", False, False),
        (X86.format("avx_vnni"), "x86_64", False, False),
        (X86.format("amx_int8"), "x86_64", False, False),
        (ARM.format("asimddp"), "aarch64", False, True),
        (ARM.format(""), "aarch64", False, True),
        ("", "aarch64", False, True),
        ("", "x86_64", True, False),
        ("", "riscv64", True, False),
    ],
)
def test_hosts(cpuinfo: str, machine: str, reduce_range: bool, signed: bool) -> None:
    cpu = read_host(cpuinfo, machine)
    assert (cpu.name, cpu.reduce_range, cpu.signed_activations) == ("Host", reduce_range, signed)


def test_only_flags_that_matter_are_recorded() -> None:
    assert read_host(X86.format("avx512_vnni"), "x86_64").flags == ("avx2", "avx512_vnni", "avx512f")


def test_what_is_not_known_is_taken_for_the_weakest() -> None:
    assert TargetCpu() == target_cpu()
    assert TargetCpu().reduce_range


@pytest.mark.parametrize(
    ("cpuinfo", "machine", "target", "same"),
    [
        (X86.format(""), "x86_64", "Any", True),
        (X86.format(""), "x86_64", "AVX2", True),
        (X86.format(""), "x86_64", "AVX512VNNI", False),
        (X86.format(""), "x86_64", "ARM64", False),
        (X86.format("avx512_vnni"), "x86_64", "AVX512VNNI", True),
        (X86.format("avx_vnni"), "x86_64", "ARM64", True),
        (ARM.format(""), "aarch64", "AVX512VNNI", True),
    ],
)
def test_one_cpu_computes_as_another_unless_it_alone_saturates(
    cpuinfo: str, machine: str, target: CpuTarget, same: bool
) -> None:
    assert read_host(cpuinfo, machine).computes_as(target_cpu(target)) == same


@pytest.mark.parametrize("target", ["Any", "AVX512VNNI", "ARM64"])
@pytest.mark.parametrize("recipe", [QuantizationRecipe("Static"), QuantizationRecipe("Dynamic")])
def test_a_widened_session_computes_on_every_cpu_what_the_graph_says(
    shared: Path, tmp_path: Path, target: CpuTarget, recipe: QuantizationRecipe
) -> None:
    """The reference is ONNX's own evaluator, which knows no kernels."""
    source, quantized = shared / "mlp.onnx", tmp_path / "integers.onnx"
    calibration = calibrate(source, feeds(), tmp_path)
    quantize(source, quantized, recipe, calibration, target_cpu(target), tmp_path)
    graph = onnx.load(quantized)
    # The evaluator has no DequantizeLinear from before this opset, which for these types is the same.
    next(opset for opset in graph.opset_import if not opset.domain).version = 19
    reference, session = ReferenceEvaluator(graph), Session(quantized, 1, widened=True)
    truth = [np.asarray(answer) for feed in feeds() for answer in reference.run(None, dict(feed))]
    assert noise_ratio(truth, [session.run(feed)[0] for feed in feeds()]) < 1e-6


@pytest.mark.parametrize(("flag", "notes"), [("", 1), ("avx512_vnni", 0)])
def test_a_model_for_another_cpu_is_judged_by_what_it_computes_there(
    shared: Path, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch, flag: str, notes: int
) -> None:
    monkeypatch.setattr(cpu_module, "_cpuinfo", lambda: X86.format(flag))
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    model = load_model(shared / "mlp.onnx", "", (), 1)
    recipe = Recipe(mode="Manual", quantization=Quantization(method="Static"), target_cpu="AVX512VNNI", metric="Cosine")
    job = Job(model, Dataset({"x": VALUES}, None), recipe, 1, tmp_path, settings)
    outcome = compress(job, Span(lambda _: None))
    (candidate,) = outcome.tried
    # Saturated, the cosine is 0.996.
    assert candidate.measured.accuracy is not None
    assert candidate.measured.accuracy > 0.9995
    assert len([note for note in outcome.notes if "made for AVX512VNNI" in note]) == notes
