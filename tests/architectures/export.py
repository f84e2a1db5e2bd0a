"""The architectures as ONNX, by torch's current exporter and by the one from TorchScript's time."""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Literal

import onnx
import torch

from tests.architectures.catalogue import example, module

Exporter = Literal["dynamo", "torchscript"]

_OPSETS: dict[Exporter, tuple[int, ...]] = {"dynamo": (18, 23), "torchscript": (13, 17, 20)}
_SHORT = {"bert", "gpt2", "vit", "lstm", "mlp"}
_FUSED_ATTENTION = {"gpt2", "vit"}


def opsets(name: str, exporter: Exporter) -> tuple[int, ...]:
    """The opsets at which the architecture ``name`` is worth a test: oldest, 17 where it is another, newest.

    The current exporter writes 18 and later; its convolutional graphs differ in nothing but that number, and take it
    long, so the newest stands for both. TorchScript's has scaled_dot_product_attention since 14.
    """
    if exporter == "dynamo":
        return _OPSETS[exporter] if name in _SHORT else _OPSETS[exporter][-1:]
    return (14, *_OPSETS[exporter][1:]) if name in _FUSED_ATTENTION else _OPSETS[exporter]


def export(name: str, exporter: Exporter, opset: int, *, open_batch: bool = False) -> onnx.ModelProto:
    """The architecture ``name`` with its output named ``y``. A fresh copy on every call.

    Its batch is two, or, with ``open_batch``, any: then graphs compute their shapes while they run.
    """
    return onnx.load_model_from_string(_export(name, exporter, opset, open_batch))


@cache
def _export(name: str, exporter: Exporter, opset: int, open_batch: bool) -> bytes:
    feed = example(name)
    net, arguments = module(name), tuple(torch.from_numpy(array) for array in feed.values())
    names, outputs = list(feed), ["y"]
    with _quiet(), torch.no_grad():
        if exporter == "torchscript":
            file = io.BytesIO()
            torch.onnx.export(
                net,
                arguments,
                file,  # type: ignore[arg-type] # annotated for paths alone, documented for files too
                input_names=names,
                output_names=outputs,
                opset_version=opset,
                dynamo=False,
                dynamic_axes={key: {0: "batch"} for key in (*names, *outputs)} if open_batch else None,
            )
            return file.getvalue()
        program = torch.onnx.export(
            net,
            arguments,
            input_names=names,
            output_names=outputs,
            opset_version=opset,
            dynamo=True,
            dynamic_shapes=tuple({0: torch.export.Dim("batch")} for _ in names) if open_batch else None,
            verbose=False,
        )
        assert program is not None
        serialized: bytes = program.model_proto.SerializeToString()
        return serialized


@contextmanager
def _quiet() -> Iterator[None]:
    """Both exporters log and warn about themselves; that the result is right is for a test to say."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
