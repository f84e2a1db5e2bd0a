"""How torch uses the CPUs. The number of threads is part of what makes a training repeatable."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def use_all_cores() -> None:
    """Train with every CPU that this process may use."""
    torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def use_one_core() -> None:
    """Train on one thread."""
    torch.set_num_threads(1)


@contextmanager
def without_denormals() -> Iterator[None]:
    """While gradients are calculated: numbers too small to be normal ones are zero.

    What is learnt well has such gradients, and some CPUs take a hundred times as long for each: a training of ten
    seconds took minutes. The threads that torch starts within this keep to it; elsewhere numbers stay what they are.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
