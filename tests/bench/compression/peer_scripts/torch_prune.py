"""torch-pruning takes half of the channels out and the network is trained again; then onnxruntime's static INT8."""

import argparse
import copy

import numpy as np
import torch
import torch_pruning
from common import Samples, answer, arguments, quantize_by_ort
from quality import quality
from torch import nn
from torch.nn import functional

from tests.bench.compression.exporting import export
from tests.bench.compression.networks import NETWORKS, PreNormBlock, SeparateAttention

RATIO = 0.5
BATCH = 32
LEARNING_RATE = 1e-3


def prune(network: nn.Module, example: torch.Tensor) -> None:
    """Half of the channels of each layer by their norm over the group; of attention, half of each head.

    Query, key and value in one layer are beyond its tracing, so they become three before.
    """
    for block in [part for part in network.modules() if isinstance(part, PreNormBlock)]:
        block.attention = block.attention.separate()
    parts = [part for part in network.modules() if isinstance(part, SeparateAttention)]
    heads = {layer: part.heads for part in parts for layer in (part.query, part.key, part.value)}
    last = network.get_submodule("classifier.1" if hasattr(network, "classifier") else "head")
    pruner = torch_pruning.pruner.BasePruner(
        network,
        example,
        importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=RATIO,
        ignored_layers=[last],
        num_heads=heads,
        round_to=8,
    )
    pruner.step()


def score(network: nn.Module, x: torch.Tensor, y: np.ndarray) -> float:
    """Quality on these samples."""
    network.eval()
    with torch.inference_mode():
        return quality(torch.cat([network(batch) for batch in x.split(100)]).numpy(), y)


def fine_tune(network: nn.Module, samples: Samples, epochs: int) -> None:
    """Cross-entropy by Adam along a half cosine; the best epoch on what was held out is kept."""
    # As ours does it: some CPUs take a hundred times as long for numbers as small as the last gradients are.
    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    x, y = (torch.from_numpy(array) for array in samples.train)
    held_out, labels = torch.from_numpy(samples.held_out[0]), samples.held_out[1]
    optimizer = torch.optim.Adam(network.parameters(), LEARNING_RATE)
    steps = len(x) // BATCH
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * steps)
    best, kept = -1.0, {}
    for _ in range(epochs):
        network.train()
        for batch in torch.randperm(len(x))[: steps * BATCH].split(BATCH):
            loss = functional.cross_entropy(network(x[batch]).flatten(0, -2), y[batch].flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        reached = score(network, held_out, labels)
        if reached > best:
            best, kept = reached, copy.deepcopy(network.state_dict())
    network.load_state_dict(kept)
    network.eval()


def main() -> None:
    """Prune, fine-tune, export, quantize."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", required=True, choices=NETWORKS)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--epochs", required=True, type=int)
    options = arguments(parser)
    samples = Samples(options.dataset)
    network = NETWORKS[options.network]().eval()
    with np.load(options.weights, allow_pickle=False) as arrays:
        network.load_state_dict({name: torch.from_numpy(arrays[name]) for name in arrays.files})
    example = torch.from_numpy(samples.train[0][:2])
    prune(network, example)
    fine_tune(network, samples, options.epochs)
    pruned = options.out.with_name(f"{options.out.stem}-pruned.onnx")
    export(network, example, pruned)
    quantize_by_ort(pruned, options.out, samples, tuned=True)
    pruned.unlink()
    answer(options.out)


if __name__ == "__main__":
    main()
