"""Small torch models, and what torch and transformers write of them."""

from pathlib import Path

import torch
from torch import Tensor, nn

CLASSES = 3
SIDE = 8


class Net(nn.Module):
    """Conv, batch norm, linear: image ``x`` (batch, 1, 8, 8) to scores (batch, 3)."""

    offset: Tensor

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(1, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4 * (SIDE - 2) ** 2, CLASSES)
        self.register_buffer("offset", torch.arange(CLASSES).float(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(self.norm(self.conv(x)).relu().flatten(1)) + self.offset
        return scores


class Pair(nn.Module):
    """Tokens (batch, length) and weights (batch, length) to two outputs, in a dict."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(10, 4)

    def forward(self, tokens: Tensor, weights: Tensor) -> dict[str, Tensor]:
        rows = self.table(tokens) * weights[:, :, None]
        return {"sum": rows.sum(1), "all": rows}


def save_program(path: Path, module: nn.Module | None = None) -> Path:
    """``torch.export.save`` with an open batch."""
    module = (module or Net()).eval()
    batch = torch.export.Dim("batch", min=1, max=64)
    arguments: tuple[Tensor, ...] = (torch.zeros(2, 1, SIDE, SIDE),)
    shapes: dict[str, object] = {"x": {0: batch}}
    if isinstance(module, Pair):
        arguments = (torch.ones(2, 5, dtype=torch.int64), torch.ones(2, 5))
        shapes = {"tokens": {0: batch}, "weights": {0: batch}}
    torch.export.save(torch.export.export(module, arguments, dynamic_shapes=shapes), path)
    return path


def save_script(path: Path, module: nn.Module | None = None) -> Path:
    """``torch.jit.save`` of a traced module."""
    traced = torch.jit.trace((module or Net()).eval(), torch.zeros(2, 1, SIDE, SIDE))  # type: ignore[no-untyped-call]
    torch.jit.save(traced, path)
    return path


def save_checkpoint(path: Path) -> Path:
    """``torch.save`` of the weights: a pickle in a zip."""
    torch.save(Net().state_dict(), path)
    return path
