"""What the peers' programs share: the arguments, the data, and the answer."""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

STARTED = time.perf_counter()
CALIBRATION = 300
"""Samples that calibrate: NNCF's default."""


def arguments(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Read the command line, with the three arguments that all have."""
    parser.add_argument("model", type=Path)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("out", type=Path)
    return parser.parse_args()


def answer(out: Path) -> None:
    """The last line on standard output."""
    print(json.dumps({"seconds": time.perf_counter() - STARTED, "file": str(out)}), flush=True)


class Samples:
    """The dataset, by part."""

    def __init__(self, path: Path) -> None:
        with np.load(path, allow_pickle=False) as arrays:
            held_out = arrays["held_out"]
            self.train = (arrays["x"][~held_out], arrays["y"][~held_out])
            self.held_out = (arrays["x"][held_out], arrays["y"][held_out])

    def feeds(self) -> Iterator[dict[str, np.ndarray]]:
        """What calibrates, one sample at a time."""
        for sample in self.train[0][:CALIBRATION]:
            yield {"x": sample[None]}


class Reader(CalibrationDataReader):
    """onnxruntime's way to ask for samples."""

    def __init__(self, samples: Samples) -> None:
        self._feeds = samples.feeds()

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._feeds, None)


def quantize_by_ort(model: Path, out: Path, samples: Samples, tuned: bool) -> None:
    """onnxruntime's static quantization in QDQ form, after the pre-processing that its guide asks for.

    ``tuned`` as somebody does who knows x86: activations without a sign, for which it has the faster kernels there
    (with the default, some convolutions stay in floats), and a scale per channel of the weights.
    """
    ready = preprocessed(model, out)
    options = {"activation_type": QuantType.QUInt8, "per_channel": True} if tuned else {}
    quantize_static(ready, out, Reader(samples), **options)
    ready.unlink()


def preprocessed(model: Path, out: Path) -> Path:
    """``model`` beside ``out``, its graph optimized and its shapes inferred."""
    target = out.with_name(f"{out.stem}-preprocessed.onnx")
    quant_pre_process(model, target, skip_symbolic_shape=True)
    return target
