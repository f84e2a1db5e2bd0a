"""PEER MODEL DATASET OUT [--fix NAME=VALUE …] [STATE …]: a peer's defaults, as its guide has them."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, quantize_dynamic, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

Feed = dict[str, Any]


class Reader(CalibrationDataReader):
    """onnxruntime's way to ask for samples."""

    def __init__(self, feeds: Iterator[Feed]) -> None:
        self._feeds = feeds

    def get_next(self) -> Feed | None:
        """The next sample."""
        return next(self._feeds, None)


def samples(model: Path, dataset: Path, fixed: dict[str, str], states: list[str]) -> Iterator[Feed]:
    """One at a time, by the model's own names: with what is fixed, and states of zeros."""
    inputs = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"]).get_inputs()
    constants: Feed = {}
    for item in inputs:
        if item.name in fixed:
            constants[item.name] = np.array(float(fixed[item.name]), np.int64 if "int" in item.type else np.float32)
        elif item.name in states:
            shape = [size if isinstance(size, int) else 1 for size in item.shape]
            constants[item.name] = np.zeros(shape, np.float32)
    names = [item.name for item in inputs if item.name not in constants]
    with np.load(dataset, allow_pickle=False) as arrays:
        given = {name: arrays[name] for name in arrays.files}
    read = {name: given[name] for name in names} if set(names) <= set(given) else {names[0]: next(iter(given.values()))}
    for index in range(len(next(iter(read.values())))):
        yield {name: array[index : index + 1] for name, array in read.items()} | constants


def main() -> None:
    """Pre-process where the guide says so, quantize, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peer", choices=("ort-dynamic", "ort-static", "nncf"))
    parser.add_argument("model", type=Path)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("states", nargs="*", default=[])
    parser.add_argument("--fix", action="append", default=[])
    options = parser.parse_intermixed_args()
    fixed = dict(word.split("=", 1) for word in options.fix)
    feeds = samples(options.model, options.dataset, fixed, options.states)
    if options.peer == "nncf":
        import nncf

        onnx.save(nncf.quantize(onnx.load(options.model), nncf.Dataset(list(feeds))), options.out)
        return
    ready = options.out.with_name("preprocessed.onnx")
    quant_pre_process(options.model, ready, skip_symbolic_shape=True)
    if options.peer == "ort-dynamic":
        quantize_dynamic(ready, options.out)
    else:
        quantize_static(ready, options.out, Reader(feeds))


if __name__ == "__main__":
    main()
