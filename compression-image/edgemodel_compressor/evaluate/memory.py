"""What a model takes in memory, measured in a process of its own: this one's has held too much else before.

``python -m edgemodel_compressor.evaluate.memory MODEL THREADS FEED`` loads the model, runs it once on the arrays in
FEED (npz), and prints by how many bytes that raised the highest resident size.
"""

import resource
import subprocess
import sys
from pathlib import Path

import numpy as np

from edgemodel_compressor.onnxmodel.runtime import Feed, Session

TIMEOUT_SECONDS = 300


def peak_memory(model: Path, threads: int, feed: Path) -> int | None:
    """Bytes; None where the process was killed or ended badly, for lack of memory most likely."""
    command = [sys.executable, "-m", "edgemodel_compressor.evaluate.memory", str(model), str(threads), str(feed)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return None
    return int(done.stdout) if done.returncode == 0 and done.stdout.strip().isdecimal() else None


def save_feed(feed: Feed, target: Path) -> Path:
    """Write ``feed`` where ``peak_memory`` finds it."""
    # Arrays by position: names of inputs may be no names of files.
    # Strings of a fixed length: objects could only be pickled.
    arrays = [np.asarray(value) for value in feed.values()]
    np.savez(target, *(item.astype(str) if item.dtype == object else item for item in arrays), allow_pickle=False)
    return target


def _resident() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _main(model: str, threads: str, feed: str) -> None:
    with np.load(feed, allow_pickle=False) as archive:
        arrays = [archive[name] for name in archive.files]
    arrays = [array.astype(object) if array.dtype.kind == "U" else array for array in arrays]
    before = _resident()
    session = Session(Path(model), int(threads))
    session.run(dict(zip(session.inputs, arrays, strict=True)))
    print(max(0, _resident() - before))


if __name__ == "__main__":
    _main(*sys.argv[1:])
