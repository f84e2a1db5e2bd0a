"""What the peers' programs share: the arguments, the data, and the answer."""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader
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


def run_all(model: str | bytes, x: np.ndarray) -> np.ndarray:
    """The first output for each sample, run alone."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"x": sample[None]})[0] for sample in x])


class Reader(CalibrationDataReader):
    """onnxruntime's way to ask for samples."""

    def __init__(self, samples: Samples) -> None:
        self._feeds = samples.feeds()

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._feeds, None)


def preprocessed(model: Path, out: Path) -> Path:
    """``model`` as onnxruntime's guide wants it before quantization: shapes inferred, graph optimized."""
    target = out.with_name(f"{out.stem}-preprocessed.onnx")
    quant_pre_process(model, target, skip_symbolic_shape=True)
    return target


def discard(*files: Path) -> None:
    """Remove intermediate files."""
    for file in files:
        file.unlink(missing_ok=True)
