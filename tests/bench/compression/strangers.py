"""Rows that nothing here was ever tuned on: models of the corpus, judged as that judges them.

Quality is what the corpus's judge says of answers to samples that no tool has seen, as a share of the original's.
"""

from tests.bench.compression.verdict import Judged
from tests.bench.report import FOLDER
from tests.corpus.catalogue import STRANGERS
from tests.corpus.running import PEERS, Result, compress

ROWS = ("captcha-crnn", "magika", "rapidocr-cls")
LIMIT = "180s"
"""Of Auto's search."""


def measured(name: str, seed: int, original: str, ours: str) -> tuple[list[Judged], list[str]]:
    """Figures by tool, the original's first, with samples that ``seed`` makes; and what failed, a sentence each.

    Seconds are relative to the original's, which takes one.
    """
    (stranger,) = (stranger for stranger in STRANGERS if stranger.name == name)
    folder = FOLDER / "compression" / f"{name}-{seed}"
    results = {method: compress(stranger, method, LIMIT, folder, seed) for method in ("none", "auto", *PEERS)}
    failures = [f"{name}: {method}: {item.run.said}" for method, item in results.items() if item.run.code]
    tools = {original: "none", ours: "auto"} | {peer: peer for peer in PEERS}
    size = (folder / "none" / "model.onnx").stat().st_size
    judged = [_judged(tool, results[method], size) for tool, method in tools.items() if not results[method].run.code]
    return judged, failures


def _judged(tool: str, item: Result, size: int) -> Judged:
    assert item.size is not None
    assert item.speed is not None
    assert item.judgement is not None
    return Judged(tool, round(item.size * size), 1 / item.speed, item.judgement.same, item.run.seconds)
