"""Trains the sample model: a ResNet-18 that reads handwritten digits, and the data to compress and test it with.

    python manifests/samples/digits/train.py --output build/samples/digits

Input are the 1,797 real 8×8 scans that come with scikit-learn (UCI Optical Recognition of Handwritten Digits),
enlarged to 32×32. A third of them is held out, and the network never sees it. Half of that third judges in the
compression Job; the other half nothing sees at all until the demo sends it through every site. The folder then holds

    model.onnx      float32; input ``image`` [batch, 1, 32, 32] from 0 to 1, output ``logits`` [batch, 10]
    dataset.npz     ``x`` float32 [N, 1, 32, 32] from 0 to 1 and ``y`` int64 [N]: the training part, which the Job
                    calibrates and trains on, and the judging half, true in ``held_out`` bool [N]
    images/         the other half as greyscale PNG files, named <index>-<label>.png
    training.json   the accuracy on those images, their number, and the sha256 of both files

Everything is seeded: the same machine writes the same bytes again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import time
import warnings
from pathlib import Path

# Threads that spin while they wait make training ten times slower on a machine that is doing something else, too.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional

SIDE = 32
HELD_OUT = 600
SERVED = 300
SEED = 5
EPOCHS = 8
BATCH = 64
PEAK_LEARNING_RATE = 0.05
WEIGHT_DECAY = 1e-3
SPARSITY = 2e-4


class Block(nn.Module):
    """Two 3×3 convolutions and a way around them (He et al., 2015)."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.norm1(self.conv1(x)))
        return functional.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class ResNet18(nn.Module):
    """ResNet-18 at full width, with one input channel and ten classes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
        )
        blocks: list[nn.Module] = []
        channels_in = 64
        for channels, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
            blocks += [Block(channels_in, channels, stride), Block(channels, channels, 1)]
            channels_in = channels
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(channels_in, 10)

    def forward(self, image: Tensor) -> Tensor:
        features: Tensor = self.blocks(self.stem(image))
        logits: Tensor = self.head(features.mean(dim=(2, 3)))
        return logits


def load_images() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The scans as 8-bit greyscale [1797, 32, 32], and their labels."""
    digits = load_digits()
    images = [
        np.asarray(
            Image.fromarray((scan * 255 / 16).round().astype(np.uint8)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        )
        for scan in digits.images
    ]
    return np.stack(images), digits.target.astype(np.int64)


def to_tensor(images: NDArray[np.uint8]) -> Tensor:
    """[N, 32, 32] bytes → float32 [N, 1, 32, 32] from 0 to 1: what the server makes of a PNG."""
    return torch.from_numpy(images[:, None].astype(np.float32) / 255)


def augment(images: Tensor, random: torch.Generator) -> Tensor:
    """Each image turned by up to 12°, sized by up to 10 % and moved by up to 3 pixels."""
    count = len(images)

    def spread(limit: float) -> Tensor:
        return (torch.rand(count, generator=random) * 2 - 1) * limit

    angle, zoom = spread(0.21), 1 + spread(0.1)
    cos, sin = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    shift = 2 * 3 / SIDE
    rows = torch.stack([cos, -sin, spread(shift), sin, cos, spread(shift)], dim=1).reshape(count, 2, 3)
    grid = functional.affine_grid(rows, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Share of `images` that the model reads right."""
    model.eval()
    with torch.inference_mode():
        return (model(images).argmax(dim=1) == labels).float().mean().item()


def l1_norm(model: nn.Module) -> Tensor:
    """Sum of the sizes of all convolution weights.

    As a part of the loss it leaves those small that the task does not need, so that they can be pruned at no loss.
    """
    return torch.stack([weight.abs().sum() for weight in model.parameters() if weight.ndim == 4]).sum()


def train(images: Tensor, labels: Tensor, test_images: Tensor, test_labels: Tensor) -> nn.Module:
    """Train from nothing; prints a line per epoch. The test part is only reported on."""
    torch.manual_seed(SEED)
    random = torch.Generator().manual_seed(SEED)
    model = ResNet18()
    optimizer = torch.optim.SGD(
        model.parameters(), lr=PEAK_LEARNING_RATE, momentum=0.9, nesterov=True, weight_decay=WEIGHT_DECAY
    )
    steps = len(images) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_LEARNING_RATE, total_steps=EPOCHS * steps)
    for epoch in range(1, EPOCHS + 1):
        model.train()
        start = time.monotonic()
        total = 0.0
        order = torch.randperm(len(images), generator=random)
        for step in range(steps):
            batch = order[step * BATCH : (step + 1) * BATCH]
            loss = functional.cross_entropy(model(augment(images[batch], random)), labels[batch], label_smoothing=0.05)
            total += loss.item()
            loss = loss + SPARSITY * l1_norm(model)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(
            f"epoch {epoch}/{EPOCHS}: loss {total / steps:.3f},"
            f" held-out accuracy {accuracy(model, test_images, test_labels):.1%},"
            f" {time.monotonic() - start:.1f} s",
            flush=True,
        )
    return model


def export(model: nn.Module, path: Path) -> None:
    """Write one self-contained ONNX file with a free batch dimension."""
    model.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            model,
            (torch.zeros(2, 1, SIDE, SIDE),),
            input_names=["image"],
            output_names=["logits"],
            dynamic_shapes={"image": {0: torch.export.Dim("batch")}},
            dynamo=True,
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program")
    proto: onnx.ModelProto = program.model_proto
    # The exporter notes source files and line numbers of this machine on every node: no part of the model.
    for part in (proto, proto.graph, *proto.graph.node, *proto.graph.value_info, *proto.graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
    onnx.checker.check_model(proto, full_check=True)
    path.write_bytes(proto.SerializeToString(deterministic=True))


def main() -> None:
    """Train, export, and write the held-out part."""
    parser = argparse.ArgumentParser(description="Trains the digits sample.")
    parser.add_argument("--output", type=Path, default=Path("build/samples/digits"), metavar="FOLDER")
    output: Path = parser.parse_args().output
    (output / "images").mkdir(parents=True, exist_ok=True)

    images, labels = load_images()
    train_index, test_index = train_test_split(
        np.arange(len(images)), test_size=HELD_OUT, random_state=SEED, stratify=labels
    )
    judging_index, served_index = test_index[:-SERVED], test_index[-SERVED:]
    served_images, served_labels = to_tensor(images[served_index]), torch.from_numpy(labels[served_index])
    print(f"training on {len(train_index)} scans, {len(test_index)} held out", flush=True)
    model = train(to_tensor(images[train_index]), torch.from_numpy(labels[train_index]), served_images, served_labels)

    export(model, output / "model.onnx")
    known = np.concatenate([train_index, judging_index])
    np.savez_compressed(
        output / "dataset.npz",
        x=to_tensor(images[known]).numpy(),
        y=labels[known],
        held_out=np.isin(known, judging_index),
    )
    for number, index in enumerate(served_index):
        Image.fromarray(images[index]).save(output / "images" / f"{number:04d}-{labels[index]}.png")
    summary = {
        "heldOutAccuracy": accuracy(model, served_images, served_labels),
        "heldOut": len(served_index),
        "sha256": {
            name: hashlib.sha256((output / name).read_bytes()).hexdigest() for name in ("model.onnx", "dataset.npz")
        },
    }
    (output / "training.json").write_text(json.dumps(summary, indent=2) + "\n")
    size = (output / "model.onnx").stat().st_size
    print(f"model.onnx: {size / 1e6:.1f} MB, held-out accuracy {summary['heldOutAccuracy']:.1%}", flush=True)


if __name__ == "__main__":
    main()
