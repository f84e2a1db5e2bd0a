"""How the benchmark's networks come to their weights. Seeded: the same machine trains the same weights again."""

import contextlib
import io
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgemodel_compressor.train.threads import without_denormals
from tests.bench.compression.data import Data, Part
from tests.bench.compression.networks import NETWORKS, sample

Train = Callable[[str, Data, int], nn.Module]
"""The network of that name, trained on the first part of the data with that seed, in eval mode."""


def tensors(part: Part) -> tuple[Tensor, Tensor]:
    """Samples and labels."""
    return torch.from_numpy(part.x), torch.from_numpy(part.y)


def as_the_sample(_name: str, data: Data, _seed: int) -> nn.Module:
    """The digits ResNet-18, as the sample trains it, whose seed is its own."""
    with contextlib.redirect_stdout(io.StringIO()):
        model: nn.Module = sample().train(*tensors(data.train), *tensors(data.held_out))
    return model.eval()


def by_adam(epochs: int, learning_rate: float, batch: int = 64) -> Train:
    """Cross-entropy by AdamW over a one-cycle schedule; images turned, sized and moved a little each time."""

    @without_denormals()
    def train(name: str, data: Data, seed: int) -> nn.Module:
        torch.manual_seed(seed)
        random = torch.Generator().manual_seed(seed)
        model = NETWORKS[name]().train()
        x, y = tensors(data.train)
        steps = len(x) // batch
        optimizer = torch.optim.AdamW(model.parameters(), learning_rate, weight_decay=0.05)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=epochs * steps)
        for _ in range(epochs):
            order = torch.randperm(len(x), generator=random)
            for step in range(steps):
                chosen = order[step * batch : (step + 1) * batch]
                scores = model(_augment(x[chosen], random))
                loss = functional.cross_entropy(scores.flatten(0, -2), y[chosen].flatten(), label_smoothing=0.05)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                schedule.step()
        return model.eval()

    return train


def _augment(x: Tensor, random: torch.Generator) -> Tensor:
    if not x.is_floating_point():
        return x
    augmented: Tensor = sample().augment(x.reshape(len(x), -1, *x.shape[-2:]), random)
    return augmented.reshape(x.shape)


def last_layer(name: str, data: Data, seed: int) -> nn.Module:
    """Random weights, but for the last layer: ridge regression of the classes on the features before it.

    So what is too large to train here has answers that can be right or wrong, too.
    """
    torch.manual_seed(seed)
    model = NETWORKS[name]()
    head = model.get_submodule("head")
    assert isinstance(head, nn.Linear)
    features: list[Tensor] = []
    hook = head.register_forward_pre_hook(lambda _module, inputs: features.append(inputs[0]))
    x, y = tensors(data.train)
    with torch.no_grad():
        _settle_norms(model.train(), x)
        features.clear()
        model.eval()
        for batch in torch.split(x, 16):
            model(batch)
        hook.remove()
        seen = torch.cat(features).double()
        mean, scale = seen.mean(0), seen.std() + 1e-12
        centred = (seen - mean) / scale
        wanted = functional.one_hot(y, head.out_features).double() - 1 / head.out_features
        gram = centred.T @ centred + 1e-1 * torch.eye(centred.shape[1], dtype=torch.float64)
        weight = torch.linalg.solve(gram, centred.T @ wanted) / scale
        head.weight.copy_(weight.T)
        head.bias.copy_(-(mean @ weight))
    return model


def _settle_norms(model: nn.Module, x: Tensor) -> None:
    """Let batch norms see the data: without that random weights lose it on the way."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None
    if norms:
        for batch in torch.split(x[:64], 32):
            model(batch)
