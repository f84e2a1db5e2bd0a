"""Mixed precision: as few nodes back in float as the objective needs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgemodel_compressor.errors import NotApplicableError
from edgemodel_compressor.graph.quantization.calibration.calibration import Calibration
from edgemodel_compressor.graph.quantization.cpu import TargetCpu
from edgemodel_compressor.graph.quantization.mixed_precision.sensitivity import restore
from edgemodel_compressor.graph.quantization.recipe import QuantizationRecipe


@dataclass(frozen=True)
class Mixed:
    """The recipe that was found, and whether the objective holds with it; its model is in the target file."""

    recipe: QuantizationRecipe
    met: bool
    trials: int


def mixed_precision(
    source: Path,
    target: Path,
    recipe: QuantizationRecipe,
    ranking: Sequence[str],
    objective: Callable[[Path], bool],
    calibration: Calibration | None,
    cpu: TargetCpu,
    folder: Path,
    trials: int = 12,
) -> Mixed:
    """Restore the first nodes of ``ranking`` to float, as few as make ``objective`` of the file true.

    0, 1, 2, 4, 8 … nodes are tried until it holds, then the gap is halved, within ``trials`` models in all. If it never
    holds, the target is the last model tried, the one with most nodes in float, and ``met`` is false.

    Raises:
        NotApplicableError: the recipe does not apply to this model at all.
        ValueError: ``trials`` is less than 1.
    """
    if trials < 1:
        raise ValueError("mixed precision needs at least one trial")
    failed, held, limit = -1, len(ranking) + 1, len(ranking)
    count = spent = 0
    written = recipe
    while spent < trials:
        spent += 1
        try:
            written = restore(source, target, recipe, ranking[:count], calibration, cpu, folder)
        except NotApplicableError:
            if count == 0:
                raise
            # With so many in float nothing is left to quantize.
            limit = count - 1
        else:
            failed, held = (failed, count) if objective(target) else (count, held)
        count = _next(failed, held, limit)
        if count == failed:
            break
    met = held <= limit
    if met and len(written.excluded) != len(recipe.excluded) + held:
        written = restore(source, target, recipe, ranking[:held], calibration, cpu, folder)
    return Mixed(written, met, spent)


def _next(failed: int, held: int, limit: int) -> int:
    """How many to restore next, where ``failed`` are too few, ``held`` enough, and ``limit`` the most there are.

    ``failed`` again means that there is nothing left to find out.
    """
    if held <= limit:
        return (failed + held) // 2
    return min(max(1, 2 * failed), limit)
