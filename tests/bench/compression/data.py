"""What the networks read: scikit-learn's digits and the text of Debian's licences, in three parts.

The first part trains the model, the second is held out of that; both go to every tool, which may calibrate, train and
validate as it likes. The third part no tool ever sees: on it, and nothing else, the benchmark measures accuracy.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from tests.bench.compression.networks import CONTEXT, sample

SEEDS = (5, 6, 7)
"""Each deals the samples anew to the three parts, and begins a training anew."""
HELD_OUT, TEST = 400, 500
LICENCES = Path("/usr/share/common-licenses")
TEXT_LIMIT = 400_000
"""Characters; Debian 12 has 236,000."""
SHOWN = 900
"""Windows of text that the tools are given of those that trained the model."""


@dataclass(frozen=True)
class Part:
    """Samples ``x`` and labels ``y``, samples first."""

    x: NDArray[Any]
    y: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.x)

    def first(self, count: int) -> "Part":
        """At most ``count`` samples."""
        return Part(self.x[:count], self.y[:count])


@dataclass(frozen=True)
class Data:
    """Three parts that share no sample."""

    train: Part
    held_out: Part
    test: Part

    def write(self, path: Path) -> None:
        """What the tools get, as an npz: ``x``, ``y`` and ``held_out``, which marks those that trained nothing."""
        parts = (self.train, self.held_out)
        np.savez_compressed(
            path,
            x=np.concatenate([part.x for part in parts]),
            y=np.concatenate([part.y for part in parts]),
            held_out=np.repeat([False, True], [len(part) for part in parts]),
        )


def _digits(x: NDArray[Any], y: NDArray[np.int64], seed: int) -> Data:
    index = np.arange(len(x))
    rest, test = train_test_split(index, test_size=TEST, random_state=seed, stratify=y)
    train, held_out = train_test_split(rest, test_size=HELD_OUT, random_state=seed, stratify=y[rest])
    first, second, third = (Part(x[chosen], y[chosen]) for chosen in (train, held_out, test))
    return Data(first, second, third)


def images(seed: int) -> Data:
    """Scans as float32 (N, 1, 32, 32) from 0 to 1."""
    scans, labels = sample().load_images()
    return _digits(sample().to_tensor(scans).numpy(), labels, seed)


def colour_images(seed: int) -> Data:
    """Scans as float32 (N, 3, 32, 32) from 0 to 1, the three channels alike."""
    return _each(images(seed), lambda x: np.repeat(x, 3, axis=1))


def rows(seed: int) -> Data:
    """Scans as float32 (N, 8, 8) from 0 to 1: eight rows of eight pixels."""
    digits = load_digits()
    return _digits((digits.images / 16).astype(np.float32), digits.target.astype(np.int64), seed)


def large_images(seed: int) -> Data:
    """A few scans as float32 (N, 3, 224, 224) from 0 to 1."""
    # A point of accuracy cannot be told on less held out.
    return _each(_few(colour_images(seed), held_out=200), lambda x: x.repeat(7, axis=2).repeat(7, axis=3))


def pixels(seed: int) -> Data:
    """A few scans as int64 (N, 64): a token for each place and brightness of a pixel, so that each word tells both."""
    digits = load_digits()
    return _few(_digits(digits.data.astype(np.int64) + np.arange(64) * 17, digits.target.astype(np.int64), seed))


def _few(data: Data, held_out: int = 64) -> Data:
    return Data(data.train.first(256), data.held_out.first(held_out), data.test.first(200))


def _each(data: Data, change: Callable[[NDArray[Any]], NDArray[Any]]) -> Data:
    return Data(*(Part(change(part.x), part.y) for part in (data.train, data.held_out, data.test)))


def licences() -> str:
    """The licences that a Debian carries, in the order of their names.

    Raises:
        FileNotFoundError: this is no Debian.
    """
    if not LICENCES.is_dir():
        raise FileNotFoundError(f"{LICENCES} is missing; run this row on a Debian, which has it in base-files")
    files = sorted(file for file in LICENCES.iterdir() if file.is_file() and not file.is_symlink())
    return "".join(file.read_text(errors="replace") for file in files)[:TEXT_LIMIT]


def text(seed: int) -> Data:
    """Windows of 64 characters as int64 (N, 64) without overlap, and for each character the next one.

    Dealt by lot to the three parts; the training part is all the rest.
    """
    codes = np.frombuffer(licences().encode("ascii", "replace"), np.uint8).astype(np.int64)
    tokens = np.where(codes == ord("\n"), 95, np.where((codes >= 32) & (codes < 127), codes - 32, 96))
    count = (len(tokens) - 1) // CONTEXT
    x = tokens[: count * CONTEXT].reshape(count, CONTEXT)
    y = tokens[1 : count * CONTEXT + 1].reshape(count, CONTEXT)
    order = np.random.default_rng(seed).permutation(count)
    test, held_out, train = np.split(order, [TEST, TEST + HELD_OUT])
    first, second, third = (Part(x[chosen], y[chosen]) for chosen in (train, held_out, test))
    return Data(first, second, third)
