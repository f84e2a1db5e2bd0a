"""Output tensor to label and probability."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgemodel_contract.card import ModelCard
from edgemodel_contract.task import TensorSpec
from edgemodel_server.errors import ModelError, ModelFailedError
from edgemodel_server.images.decode import ImageInput, image_input
from edgemodel_server.protocol.datatypes import FLOATS, Array


@dataclass(frozen=True)
class Prediction:
    """The most probable class. ``probability`` is from 0 to 1."""

    label: str
    probability: float


@dataclass(frozen=True)
class Classifier:
    """An image model whose output has one value per class. ``probabilities``: the values are that already."""

    image: ImageInput
    output: str
    labels: tuple[str, ...]
    probabilities: bool

    def predict(self, output: Array, count: int = 1) -> list[Prediction]:
        """The ``count`` classes with the highest values, highest first; of equals the first. ``output`` is the model's,
        for one image; where it has fewer classes, all of them.

        Raises:
            ModelFailedError: the model answered NaN or infinity.
        """
        values = output.astype(np.float64).ravel()
        if not np.isfinite(values).all():
            raise ModelFailedError("the model answered NaN or infinity for this image")
        best = [int(values.argmax())] if count == 1 else np.argsort(-values, kind="stable")[:count].tolist()
        shares = values if self.probabilities else np.exp(values - values[best[0]])
        total = 1.0 if self.probabilities else float(shares.sum())
        return [
            Prediction(
                label=self.labels[index] if index < len(self.labels) else str(index),
                probability=min(max(float(shares[index]) / total, 0.0), 1.0),
            )
            for index in best
        ]


def classifier(card: ModelCard, warm_up: Sequence[Sequence[Array]]) -> Classifier | None:
    """The classifier of the card's model; None if it does not take an image or does not give one value per class.

    Whether the values still need a softmax is decided here, once: they do not if every warm-up output (the same
    inputs at every start) was a probability distribution.

    Raises:
        ModelError: the card has another number of labels than the model has classes.
    """
    image = image_input(card)
    classes = _classes(card.outputs[0]) if card.outputs else None
    if image is None or classes is None:
        return None
    if card.labels and classes not in (-1, len(card.labels)):
        raise ModelError(
            f"model {card.name!r} has {classes} classes but its card has {len(card.labels)} labels: "
            "give one label per class"
        )
    return Classifier(
        image=image,
        output=card.outputs[0].name,
        labels=card.labels,
        probabilities=bool(warm_up) and all(is_distribution(run[0]) for run in warm_up),
    )


def is_distribution(values: Array) -> bool:
    """Whether ``values`` are from 0 to 1 and add up to 1, as far as rounding each to 8 bits allows."""
    flat = values.astype(np.float64).ravel()
    if not np.isfinite(flat).all() or flat.min() < 0 or flat.max() > 1 + 1e-3:
        return False
    return abs(float(flat.sum()) - 1) <= max(1e-3, flat.size / 512)


def _classes(output: TensorSpec) -> int | None:
    """How many classes the output tells apart, -1 if open; None if it is not one vector of at least two."""
    sizes = [size for size in output.shape[1:] if size != 1]
    if len(output.shape) < 2 or output.shape[0] not in (-1, 1) or len(sizes) != 1 or sizes[0] == 0:
        return None
    return sizes[0] if output.datatype in FLOATS else None
