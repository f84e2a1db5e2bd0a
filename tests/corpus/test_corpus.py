"""The two quickest models of the corpus, by every method: a result that the task's own judge accepts."""

from pathlib import Path

import pytest

from tests.corpus.__main__ import SENTENCE
from tests.corpus.catalogue import STRANGERS
from tests.corpus.running import METHODS, compress

QUICKEST = ("surfaces-knn", "swift-f0")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", QUICKEST)
def test_a_strangers_model_keeps_doing_its_task(tmp_path: Path, name: str, method: str) -> None:
    (stranger,) = (stranger for stranger in STRANGERS if stranger.name == name)
    result = compress(stranger, method, "20s", tmp_path)
    assert not result.run.traceback
    if result.run.code:
        assert method == "manual", result.run.said
        assert SENTENCE.match(result.run.said)
        return
    assert result.size is not None
    assert result.judgement is not None
    assert result.control is not None
    assert not result.control.kept, "the judge takes answers to other samples for the same"
    if method == "none":
        assert result.size == pytest.approx(1, abs=0.05)
        assert result.judgement.same == pytest.approx(1, abs=1e-6)
    if method != "manual":
        assert result.judgement.kept, result.judgement
