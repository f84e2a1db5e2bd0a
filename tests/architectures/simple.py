"""An MLP and an LSTM classifier."""

from torch import Tensor, nn


class Lstm(nn.Module):
    """Tokens (N, T) to scores (N, classes), from the last step of two layers."""

    def __init__(self, vocabulary: int, width: int, classes: int) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, width)
        self.cells = nn.LSTM(width, width, num_layers=2, batch_first=True)
        self.head = nn.Sequential(nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, classes))

    def forward(self, tokens: Tensor) -> Tensor:
        steps, _ = self.cells(self.words(tokens))
        scores: Tensor = self.head(steps[:, -1])
        return scores


def mlp() -> nn.Module:
    """Features (N, 32) to scores (N, 5); one batch norm."""
    return nn.Sequential(
        nn.Linear(32, 96), nn.BatchNorm1d(96), nn.ReLU(), nn.Linear(96, 64), nn.Sigmoid(), nn.Dropout(),
        nn.Linear(64, 5),
    )  # fmt: skip


def lstm() -> nn.Module:
    """Two layers of 32 cells."""
    return Lstm(vocabulary=50, width=32, classes=4)
