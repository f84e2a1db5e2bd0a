"""What is asked of a training, and what came of it. No torch: a plan is made where it is decided."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import onnx

Method = Literal["Labels", "Distillation"]
StopReason = Literal["epochs", "no improvement", "time limit", "loss not finite"]

_LEARNING_RATES = {"Adam": 1e-3, "SGD": 1e-2}


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """How to train. The defaults recover a pruned model that was trained well before.

    The learning rate rises linearly over ``warm_up`` of all steps, then falls along a half cosine to zero
    (Loshchilov and Hutter, 2017).
    """

    method: Method | None = None
    """None: by labels if there are any, else by distillation."""
    epochs: int = 5
    batch_size: int = 32
    optimizer: Literal["Adam", "SGD"] = "Adam"
    learning_rate: float | None = None
    """The highest; None: 0.001 for Adam, 0.01 for SGD."""
    momentum: float = 0.9
    """Of SGD."""
    weight_decay: float = 0.0
    """Decoupled in Adam (Loshchilov and Hutter, 2019); of tensors with two axes or more, not of biases and norms."""
    warm_up: float = 0.1
    statistics: Literal["Batch", "Frozen"] = "Batch"
    """Of batch norms: those of a pruned network are no longer right. Batch: training goes by the statistics of each
    batch, and the running ones are estimated anew before every judgement (Wu and Johnson, 2021). Frozen: as they are;
    so, too, with fewer training samples than a batch has, and where a graph takes one sample at a time."""
    correction: bool = True
    """Whether channels first get the original's mean and deviation back, where the original is given as a teacher and
    the validation loss is lower for it."""
    gradient_norm: float = 1.0
    """Longer gradients are scaled down to this norm."""
    validation_share: float = 0.15
    """Of the samples: held out of the training, to say when to stop and which weights to keep."""
    patience: int | None = None
    """Epochs without a better validation loss before the training stops; None: it runs to its end."""
    temperature: float = 4.0
    """Of distillation (Hinton et al., 2015)."""
    shifting: bool = False
    """Whether a distillation also asks the teacher, once, about images that are a little to the side."""
    time_limit: float | None = None
    """Seconds. Where it ends the training, the result depends on the speed of the machine."""
    seed: int = 0

    def __post_init__(self) -> None:
        positive = {
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "learning_rate": self.peak,
            "gradient_norm": self.gradient_norm,
            "temperature": self.temperature,
        }
        for name, value in positive.items():
            if not value > 0:
                raise ValueError(f"{name} of the training is {value}; give more than zero")
        for name, share in (("warm_up", self.warm_up), ("validation_share", self.validation_share)):
            if not 0 <= share < 1:
                raise ValueError(f"{name} of the training is {share}; give a share from 0 up to 1")

    @property
    def peak(self) -> float:
        """The highest learning rate."""
        return _LEARNING_RATES[self.optimizer] if self.learning_rate is None else self.learning_rate


@dataclass(frozen=True)
class Recovered:
    """A trained model, and how the training went."""

    proto: onnx.ModelProto
    """With the weights of the lowest validation loss; those it started with, if none was lower."""
    epochs_run: int
    best_epoch: int
    """0: before the training."""
    training_loss: Sequence[float]
    """The mean per epoch, while it was trained."""
    validation_loss: Sequence[float]
    """Before the training and any correction, and after each epoch."""
    corrected: bool
    """Whether the training started from corrected channels."""
    stopped_because: StopReason
