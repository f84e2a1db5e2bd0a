"""How many threads train. The number is part of what makes a training repeatable."""

import os

import torch


def use_all_cores() -> None:
    """Train with every CPU that this process may use."""
    torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def use_one_core() -> None:
    """Train on one thread."""
    torch.set_num_threads(1)
