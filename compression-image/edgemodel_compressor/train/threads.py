"""How many threads train: as many as there are CPUs. The number is part of what makes a training repeatable."""

import os

import torch


def use_all_cores() -> None:
    """Train with every CPU that this process may use."""
    torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
