"""One thread for torch: small networks are no faster on more, and other tests want the cores, too."""

from collections.abc import Iterator

import pytest

import edgemodel_compressor.train  # noqa: F401  (before torch, whose threads it tells not to spin)


@pytest.fixture(autouse=True, scope="package")
def _one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
