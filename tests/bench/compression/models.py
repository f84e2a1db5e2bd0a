"""The rows of the benchmark: each a network, the data it learnt from and the ONNX file that every tool is given."""

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from tests.bench.compression import data, exporting, networks, training
from tests.bench.compression.data import Data
from tests.bench.report import FOLDER

_MODULES = (data, exporting, networks, training)
_SOURCES = (Path(__file__), networks.SAMPLE, *(Path(str(module.__file__)) for module in _MODULES))


@dataclass(frozen=True)
class Row:
    """A network of ``networks.NETWORKS`` by its name, its data, and how it is trained."""

    name: str
    title: str
    data: Callable[[int], Data]
    """By seed."""
    train: training.Train
    transformer: bool = False
    """Attention and linear layers: NNCF wants to be told."""
    perplexity: bool = False
    """What is judged is the next character, not a class."""


ROWS = (
    Row("resnet18", "ResNet-18, digits", data.images, training.as_the_sample),
    Row("mobilenetv2", "MobileNetV2 of half the width, digits", data.colour_images, training.by_adam(30, 4e-3)),
    Row("vit", "ViT, 6 layers of 128, digits", data.images, training.by_adam(60, 1e-3), transformer=True),
    Row(
        "encoder",
        "BERT-style encoder, 4 layers of 256, digits as 8 rows of 8",
        data.rows,
        training.by_adam(40, 5e-4),
        transformer=True,
    ),
    Row(
        "gpt2",
        "GPT-2-style, 4 layers of 192, 64 characters of licences",
        data.text,
        training.by_adam(4, 2e-3, batch=16),
        transformer=True,
        perplexity=True,
    ),
    Row(
        "resnet18-224",
        "ResNet-18 at 224×224, random weights, last layer fitted",
        data.large_images,
        training.last_layer,
    ),
    Row(
        "bert-base",
        "BERT-base, 64 tokens, random weights, last layer fitted",
        data.pixels,
        training.last_layer,
        transformer=True,
    ),
)


@dataclass(frozen=True)
class Prepared:
    """A row's files: the model, the data for the tools, and the weights for those that start from torch."""

    row: Row
    folder: Path

    @property
    def model(self) -> Path:
        """FP32 ONNX: input ``x`` with an open batch, output ``y``."""
        return self.folder / "model.onnx"

    @property
    def dataset(self) -> Path:
        """npz: ``x``, ``y``, ``held_out``."""
        return self.folder / "dataset.npz"

    @property
    def weights(self) -> Path:
        """npz: the network's state, by name."""
        return self.folder / "weights.npz"


def prepare(row: Row, seed: int) -> Prepared:
    """Train and export, unless that was done by the same code and libraries on the same data before."""
    read = row.data(seed)
    key = _key(row, read, seed)
    folder = FOLDER / "models" / f"{row.name}-{key}"
    prepared = Prepared(row, folder)
    if folder.is_dir():
        return prepared
    fresh = folder.with_suffix(".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    network = row.train(row.name, read, seed)
    exporting.export(network, torch.from_numpy(read.train.x[:2]), fresh / prepared.model.name)
    shown = Data(read.train.first(data.SHOWN), read.held_out, read.test)
    shown.write(fresh / prepared.dataset.name)
    np.savez(fresh / prepared.weights.name, **{name: value.numpy() for name, value in network.state_dict().items()})
    fresh.rename(folder)
    return prepared


def _key(row: Row, read: Data, seed: int) -> str:
    digest = hashlib.sha256(f"{row.name} {seed}".encode())
    for source in _SOURCES:
        digest.update(source.read_bytes())
    for library in ("torch", "onnx", "onnxscript"):
        digest.update(version(library).encode())
    for part in (read.train, read.held_out, read.test):
        digest.update(part.x.tobytes() + part.y.tobytes())
    return digest.hexdigest()[:16]
