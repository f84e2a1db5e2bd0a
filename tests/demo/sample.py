"""The sample model: trained once, kept in build/samples/digits, pushed to the cluster's registry."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tools.localcluster import Registry
from tools.localcluster.system.progress import Progress
from tools.localcluster.system.shell import stream

from .artifacts import push

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = ROOT / "manifests" / "samples"
FOLDER = ROOT / "build" / "samples" / "digits"
SCRIPT = MANIFESTS / "digits" / "train.py"
# What the sample manifests call the registry.
WRITTEN_REGISTRY = "127.0.0.1:5000"
_ARTIFACTS = {
    "model.onnx": ("models/digits:v1", "application/onnx"),
    "dataset.npz": ("datasets/digits:v1", "application/x-npz"),
}


@dataclass(frozen=True)
class HeldOutImage:
    """One image that the model was not trained on."""

    path: Path
    label: str
    pixels: NDArray[np.float32]
    """The model's input, from 0 to 1, shape [1, 32, 32]."""


@dataclass(frozen=True)
class Sample:
    """The trained model: how well it read the held-out images before compression, and those images."""

    accuracy: float
    images: tuple[HeldOutImage, ...]


def train(progress: Progress) -> Sample:
    """Train, unless the folder already holds what this script and these libraries made."""
    key = _key()
    marker = FOLDER / "key"
    with progress.step("sample: ResNet-18 on handwritten digits") as step:
        if marker.is_file() and marker.read_text() == key:
            step.note = "trained before"
        else:
            marker.unlink(missing_ok=True)
            log = FOLDER.parent / "train.log"
            log.parent.mkdir(parents=True, exist_ok=True)
            stream([sys.executable, SCRIPT, "--output", FOLDER], step.update, log, cwd=ROOT)
            marker.write_text(key)
        sample = _load()
        step.note = f"held-out accuracy {sample.accuracy:.1%}" + (f", {step.note}" if step.note else "")
    return sample


def publish(registry: Registry, progress: Progress) -> None:
    """Push model and dataset to the registry, where the EdgeModels look for them."""
    with progress.step("sample: model and dataset to the registry") as step:
        for name, (reference, media_type) in _ARTIFACTS.items():
            push(registry, f"{registry.name}/{reference}", FOLDER / name, media_type)
        step.note = ", ".join(f"{(FOLDER / name).stat().st_size / 1e6:.1f} MB" for name in _ARTIFACTS)


def manifest(name: str, registry: Registry) -> str:
    """The YAML of the sample EdgeModel `name`, with this cluster's registry in its URIs."""
    return (MANIFESTS / f"{name}.yaml").read_text().replace(WRITTEN_REGISTRY, registry.name)


def _key() -> str:
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("torch", "onnx", "scikit-learn", "pillow")]
    parts = [SCRIPT.read_text(), *versions, os.uname().machine]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _load() -> Sample:
    images = []
    for path in sorted((FOLDER / "images").glob("*.png")):
        pixels = np.asarray(Image.open(path), dtype=np.float32)[np.newaxis] / np.float32(255)
        images.append(HeldOutImage(path, path.stem.rpartition("-")[2], pixels))
    training = json.loads((FOLDER / "training.json").read_text())
    return Sample(training["heldOutAccuracy"], tuple(images))
