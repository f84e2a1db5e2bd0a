"""8-bit integers by onnxruntime.quantization: dynamic without data, static with calibration (QDQ, per channel)."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
from onnx import version_converter
from onnxruntime import quantization as ortq
from onnxruntime.quantization.shape_inference import quant_pre_process

from edgemodel_compressor.errors import NotApplicableError, first_line
from edgemodel_compressor.modelfile import data_file, read_model, write_model
from edgemodel_compressor.runtime import Feed

_PER_CHANNEL_OPSET = 13
_TARGET_OPSET = 17
_INTEGER_OPERATORS = {
    "ConvInteger",
    "DequantizeLinear",
    "DynamicQuantizeLSTM",
    "MatMulInteger",
    "QAttention",
    "QEmbedLayerNormalization",
}


class _Calibration(ortq.CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, feeds: Iterable[Feed], advance: Callable[[], None]) -> None:
        self._feeds: Iterator[Feed] = iter(feeds)
        self._advance = advance

    def get_next(self) -> Mapping[str, Any] | None:
        self._advance()
        feed = next(self._feeds, None)
        return None if feed is None else dict(feed)


def quantize_dynamic(source: Path, target: Path, folder: Path) -> None:
    """Weights as 8-bit integers, activations quantized while running. ``folder`` takes temporary files.

    Raises:
        NotApplicableError: the tool fails on this model, or finds nothing to quantize.
    """
    with _quiet():
        prepared = _prepare(source, folder)
        large = data_file(prepared).exists()
        between = folder / "dynamic-convolutions.onnx"
        with _explained():
            # ONNX Runtime's ConvInteger takes unsigned weights only, while signed ones make the faster MatMulInteger.
            ortq.quantize_dynamic(
                prepared,
                between,
                op_types_to_quantize=["Conv"],
                weight_type=ortq.QuantType.QUInt8,
                reduce_range=True,
                use_external_data_format=large,
            )
            others = [name for name in _dynamic_operators() if name != "Conv"]
            ortq.quantize_dynamic(
                between,
                target,
                op_types_to_quantize=others,
                weight_type=ortq.QuantType.QInt8,
                reduce_range=True,
                use_external_data_format=large,
            )
    _require_integers(target)


def quantize_static(
    source: Path, target: Path, folder: Path, feeds: Iterable[Feed], advance: Callable[[], None]
) -> None:
    """Weights and activations as 8-bit integers, with ranges seen on ``feeds``; ``advance`` is called per feed.

    Raises:
        NotApplicableError: the tool fails on this model, or finds nothing to quantize.
    """
    with _quiet():
        prepared = _prepare(source, folder)
        with _explained():
            ortq.quantize_static(
                prepared,
                target,
                _Calibration(feeds, advance),
                quant_format=ortq.QuantFormat.QDQ,
                per_channel=True,
                # Seven bits of weight cannot saturate the 16-bit sums of CPUs without VNNI: what is measured
                # here then holds on every edge node.
                reduce_range=True,
                activation_type=ortq.QuantType.QUInt8,
                weight_type=ortq.QuantType.QInt8,
                calibrate_method=ortq.CalibrationMethod.MinMax,
                use_external_data_format=data_file(prepared).exists(),
            )
    _require_integers(target)


def tidy(path: Path) -> None:
    """Rewrite the model at ``path`` without the traces of tools: same graph, same bytes on every run."""
    model = read_model(path)
    used = {node.domain for node in model.graph.node} | {function.domain for function in model.functions}
    used |= {node.domain for function in model.functions for node in function.node} | {""}
    if not any(attribute.HasField("g") for node in model.graph.node for attribute in node.attribute):
        imports = sorted((item for item in model.opset_import if item.domain in used), key=lambda item: item.domain)
        imports = [onnx.helper.make_opsetid(item.domain, item.version) for item in imports]
        del model.opset_import[:]
        model.opset_import.extend(imports)
    del model.metadata_props[:]
    model.producer_name = model.producer_version = model.doc_string = model.graph.doc_string = ""
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    write_model(model, path)


def _prepare(source: Path, folder: Path) -> Path:
    """Shapes inferred, constants folded, batch norms fused; opset raised where per-channel needs it."""
    prepared = folder / "prepared.onnx"
    usable = source
    with _explained():
        model = read_model(source, weights=False)
        opset = next((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), 0)
        if opset < _PER_CHANNEL_OPSET:
            usable = folder / "converted.onnx"
            usable.write_bytes(version_converter.convert_version(model, _TARGET_OPSET).SerializeToString())
        # A path, not the model: of that it moves every tensor out, the axes of reductions too, and cannot read it then.
        # Symbolic shape inference would add a computer algebra system for the sake of open dimensions.
        large = data_file(usable).exists()
        quant_pre_process(
            str(usable),
            prepared,
            skip_symbolic_shape=True,
            save_as_external_data=large,
            all_tensors_to_one_file=large,
            external_data_location=data_file(prepared).name if large else None,
        )
    return prepared


def _dynamic_operators() -> list[str]:
    return ["Attention", "EmbedLayerNormalization", "Gather", "Gemm", "LSTM", "MatMul"]


def _require_integers(path: Path) -> None:
    model = read_model(path, weights=False)
    if not any(node.op_type in _INTEGER_OPERATORS for node in model.graph.node):
        raise NotApplicableError("it has no operator that 8-bit integers would help")


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # the tool raises whatever its passes stumble on
        raise NotApplicableError(first_line(error)) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """The tool logs advice on its own use through the root logger; it is not for users of this program."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
