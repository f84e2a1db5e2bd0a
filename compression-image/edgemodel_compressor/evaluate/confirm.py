"""The confirmation of a choice: the original and the chosen file run once more, by a process that knows nothing of the
search, on samples that no step of it has read, in the configuration that serves.

``python -m edgemodel_compressor.evaluate.confirm FOLDER`` reads what ``confirm`` left in the folder, and writes both
scores there as JSON.
"""

import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec
import numpy as np

from edgemodel_compressor.data.dataset import Dataset
from edgemodel_compressor.errors import TaskError
from edgemodel_compressor.evaluate.evaluator import Evaluator, Samples, Score
from edgemodel_contract.quality import Metric
from edgemodel_contract.task import OutputRule

CONFIRMATION_SECONDS = 3600
ALIVE_SECONDS = 3
_ORDER, _ARRAYS, _SCORES = "confirmation.json", "confirmation.npz", "confirmed.json"


class Order(msgspec.Struct, frozen=True):
    """What to run, and how to judge it: fields as those of an Evaluator."""

    original: str
    candidate: str
    inputs: tuple[str, ...]
    """Their arrays lie beside, in this order; labels come last, if there are any."""
    whole: tuple[str, ...]
    """Inputs of which every sample has a whole one, as a Dataset has them."""
    threads: int
    metric: Metric | None
    main: int
    rules: tuple[OutputRule, ...]
    widened: bool


class Scores(msgspec.Struct, frozen=True):
    """Of both models, on the same samples."""

    original: Score
    candidate: Score


def confirm(
    evaluator: Evaluator, original: Path, candidate: Path, threads: int, folder: Path, alive: Callable[[], None]
) -> Scores:
    """Both models scored anew as ``evaluator`` would, on its samples. ``folder`` takes temporary files; ``alive`` is
    called every ALIVE_SECONDS.

    Raises:
        TaskError: UnsupportedModel where the process ends without scores, killed for instance.
    """
    labels = evaluator.samples.labels()
    arrays = [*evaluator.samples.inputs().values(), *([] if labels is None else [labels])]
    # By position: names of inputs may be no names of files.
    np.savez(folder / _ARRAYS, *arrays, allow_pickle=False)
    order = Order(
        str(original),
        str(candidate),
        tuple(evaluator.samples.dataset.inputs),
        tuple(evaluator.samples.dataset.whole),
        threads,
        evaluator.metric,
        evaluator.main,
        evaluator.rules,
        evaluator.widened,
    )
    (folder / _ORDER).write_bytes(msgspec.json.encode(order))
    try:
        _run(folder, alive)
        return msgspec.json.decode((folder / _SCORES).read_bytes(), type=Scores)
    except (subprocess.SubprocessError, OSError, msgspec.MsgspecError) as error:
        raise TaskError(
            "UnsupportedModel",
            f"{candidate.stem} could not be run by another process to confirm its quality; give the Job more memory, "
            "or choose another method.",
        ) from error
    finally:
        for name in (_ARRAYS, _SCORES):
            (folder / name).unlink(missing_ok=True)


def _run(folder: Path, alive: Callable[[], None]) -> None:
    command = [sys.executable, "-m", "edgemodel_compressor.evaluate.confirm", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            for _ in range(CONFIRMATION_SECONDS // ALIVE_SECONDS):
                alive()
                with suppress(subprocess.TimeoutExpired):
                    code = process.wait(ALIVE_SECONDS)
                    break
            else:
                raise subprocess.TimeoutExpired(command, CONFIRMATION_SECONDS)
        finally:
            process.kill()
    if code:
        raise subprocess.CalledProcessError(code, command)


def _main(folder: Path) -> None:
    order = msgspec.json.decode((folder / _ORDER).read_bytes(), type=Order)
    with np.load(folder / _ARRAYS, allow_pickle=False) as archive:
        arrays = [archive[name] for name in archive.files]
    labels = arrays[len(order.inputs)] if len(arrays) > len(order.inputs) else None
    dataset = Dataset(dict(zip(order.inputs, arrays, strict=False)), labels, whole=frozenset(order.whole))
    evaluator = Evaluator(
        Samples(dataset, np.arange(len(dataset))), order.metric, order.main, order.rules, widened=order.widened
    )
    files = (Path(order.original), Path(order.candidate))
    original, candidate = (evaluator.score(file, order.threads, lambda _: None) for file in files)
    (folder / _SCORES).write_bytes(msgspec.json.encode(Scores(original, candidate)))


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
