"""How torch uses the CPUs. The number of threads is part of what makes a training repeatable."""

import os

import torch


def use_all_cores() -> None:
    """Train with every CPU that this process may use."""
    _use(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def use_one_core() -> None:
    """Train on one thread."""
    _use(1)


def _use(threads: int) -> None:
    torch.set_num_threads(threads)
    # What is learnt well has gradients so small that some CPUs take a hundred times as long for each: a training of ten
    # seconds took minutes.
    torch.set_flush_denormal(True)
