"""The models that are served: made here, the same bytes on every run, kept in build/.

* ``resnet``  ResNet-18 for 224×224 (He et al., 2015) with random weights, 8-bit integers: about 12 MB
* ``mlp``     64 → 64 → 8: so small that all the time is the server's
* ``wide``    1,024 → 2,048 → 2,048 → 64: reading its weights takes longer than computing, so batching pays
"""

import hashlib
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from edgemodel_compressor.graph.quantization.apply import quantize
from edgemodel_compressor.graph.quantization.calibration.calibration import calibrate
from edgemodel_compressor.graph.quantization.cpu import TargetCpu
from edgemodel_compressor.graph.quantization.recipe import QuantizationRecipe
from edgemodel_contract.card import MODEL_FILE
from tests.bench.report import FOLDER
from tests.unit.server.builders import write_folder

SIDE = 224
CLASSES = 1000
_CALIBRATION = 8
_VERSION = "1"
"""Changes with what is below, so that models kept by an earlier version are not taken for these."""


@dataclass(frozen=True)
class BenchModel:
    """A model folder as the server takes it, and one input for it: float32, batch 1."""

    name: str
    folder: Path
    input_name: str
    sample: NDArray[np.float32]

    @property
    def file(self) -> Path:
        """The ONNX file."""
        return self.folder / MODEL_FILE

    @property
    def megabytes(self) -> float:
        """Size of the ONNX file, in units of 2²⁰ bytes."""
        return self.file.stat().st_size / 2**20


def resnet() -> BenchModel:
    """Input ``image`` (N, 3, 224, 224), output ``logits`` (N, 1000)."""
    sample = np.random.default_rng(1).random((1, 3, SIDE, SIDE), dtype=np.float32)
    with _made("resnet") as (folder, missing):
        if missing:
            with TemporaryDirectory() as name:
                scratch = Path(name)
                _export(_ResNet18(), scratch / "float.onnx")
                feeds = [{"image": sample * np.float32(scale)} for scale in np.linspace(0.3, 1, _CALIBRATION)]
                ranges = calibrate(scratch / "float.onnx", feeds, scratch)
                recipe = QuantizationRecipe("Static")
                quantize(scratch / "float.onnx", scratch / "int8.onnx", recipe, ranges, TargetCpu(), scratch)
                write_folder(folder, onnx.load(scratch / "int8.onnx"), name="resnet")
    return BenchModel("resnet", folder, "image", sample)


def mlp() -> BenchModel:
    """Input ``x`` (N, 64), output ``y`` (N, 8)."""
    return _dense("mlp", (64, 64, 8))


def wide() -> BenchModel:
    """Input ``x`` (N, 1024), output ``y`` (N, 64)."""
    return _dense("wide", (1024, 2048, 2048, 64))


def _dense(name: str, widths: tuple[int, ...]) -> BenchModel:
    random = np.random.default_rng(0)
    with _made(name) as (folder, missing):
        if missing:
            nodes, constants, last = [], [], "x"
            for layer, (wide, narrow) in enumerate(pairwise(widths)):
                weights = (random.standard_normal((wide, narrow)) / wide**0.5).astype(np.float32)
                constants.append(numpy_helper.from_array(weights, f"w{layer}"))
                final = layer == len(widths) - 2
                nodes.append(helper.make_node("MatMul", [last, f"w{layer}"], ["y" if final else f"m{layer}"]))
                if not final:
                    nodes.append(helper.make_node("Relu", [f"m{layer}"], [f"r{layer}"]))
                last = f"r{layer}"
            x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", widths[0]])
            y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", widths[-1]])
            graph = helper.make_graph(nodes, name, [x], [y], constants)
            model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
            write_folder(folder, model, name=name)
    return BenchModel(name, folder, "x", random.random((1, widths[0]), dtype=np.float32))


@contextmanager
def _made(name: str) -> Iterator[tuple[Path, bool]]:
    """The folder of a model and whether it has yet to be made; it counts as made when the block ends well."""
    key = hashlib.sha256(f"{_VERSION} {onnx.__version__} {torch.__version__}".encode()).hexdigest()[:8]
    folder = FOLDER / "models" / f"{name}-{key}"
    stamp = folder / ".made"
    yield folder, not stamp.exists()
    stamp.touch()


class _Block(nn.Module):
    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x) + self.shortcut(x)
        return y.relu()


class _ResNet18(nn.Sequential):
    def __init__(self) -> None:
        torch.manual_seed(0)
        layers: list[nn.Module] = [
            nn.Conv2d(3, 64, 7, 2, 3, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
        ]
        channels_in = 64
        for channels, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
            layers += [_Block(channels_in, channels, stride), _Block(channels, channels, 1)]
            channels_in = channels
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels_in, CLASSES))


def _export(model: nn.Module, path: Path) -> None:
    model.eval()
    # torch warns that it knows no torchvision operators, which this network has none of.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            model,
            (torch.zeros(2, 3, SIDE, SIDE),),
            input_names=["image"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            dynamo=True,
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program")
    path.write_bytes(program.model_proto.SerializeToString())
