"""NNCF on the ONNX graph: ``quantize``, or ``quantize_with_accuracy_control`` with a drop of at most 1 %."""

import argparse
from collections.abc import Iterable

import nncf
import numpy as np
import onnx
import onnxruntime
from common import Samples, answer, arguments
from quality import quality

MAX_DROP = 0.01


def validate(model: onnx.ModelProto, parts: Iterable[tuple[np.ndarray, np.ndarray]]) -> tuple[float, list[float]]:
    """Quality over all parts, and of each; NNCF gives one sample at a time."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    pairs = [(session.run(None, {"x": x})[0], y) for x, y in parts]
    scores, labels = (np.concatenate(arrays) for arrays in zip(*pairs, strict=True))
    return quality(scores, labels), [quality(*pair) for pair in pairs]


def main() -> None:
    """Calibrate on samples of the training, validate on those that were held out of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accuracy-control", action="store_true")
    parser.add_argument("--transformer", action="store_true", help="tell NNCF so")
    options = arguments(parser)
    samples = Samples(options.dataset)
    model = onnx.load(options.model)
    calibration = nncf.Dataset(list(samples.feeds()))
    kind = nncf.ModelType.TRANSFORMER if options.transformer else None
    if options.accuracy_control:
        x, y = samples.held_out
        relative = nncf.DropType.RELATIVE if y.ndim > 1 else nncf.DropType.ABSOLUTE
        quantized = nncf.quantize_with_accuracy_control(
            model,
            calibration,
            nncf.Dataset([(x[i : i + 1], y[i : i + 1]) for i in range(len(x))]),
            validate,
            max_drop=MAX_DROP,
            drop_type=relative,
            model_type=kind,
        )
    else:
        quantized = nncf.quantize(model, calibration, model_type=kind)
    onnx.save(quantized, options.out)
    answer(options.out)


if __name__ == "__main__":
    main()
