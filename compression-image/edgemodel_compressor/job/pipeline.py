"""From a task to an outcome, for both faces: fetch, check, load, compress."""

from pathlib import Path

import msgspec

from edgemodel_compressor.data.dataset import open_dataset, read_dataset, show_arrays
from edgemodel_compressor.errors import TaskError, limits_explained
from edgemodel_compressor.fetch.fetcher import Fetcher
from edgemodel_compressor.formats.source import load_source
from edgemodel_compressor.onnxmodel.fixed import fix_inputs
from edgemodel_compressor.progress import Span
from edgemodel_compressor.search.candidates import check_recipe
from edgemodel_compressor.search.choose import Choice
from edgemodel_compressor.search.engine import Outcome, compress
from edgemodel_compressor.search.evaluation import Job
from edgemodel_contract.result import Candidate
from edgemodel_contract.task import Task


def check_task(task: Task) -> None:
    """What can be known to be wrong before anything is fetched.

    Raises:
        TaskError: InvalidTask.
    """
    check_recipe(task.recipe, task.dataset is not None)
    if task.serving.threads < 1:
        raise TaskError("InvalidTask", f"serving.threads is {task.serving.threads}; give at least 1.")


@limits_explained()
def run(task: Task, fetcher: Fetcher, folder: Path, span: Span) -> Outcome:
    """Fetch what ``task`` names into ``folder``, check it, and compress it.

    Raises:
        TaskError: any reason but ObjectivesNotMet, which is ``require_chosen``'s.
    """
    check_task(task)
    fetching, loading, working = span.split(2, 1, 17)
    parts = fetching.split(2, 1)
    limit = fetcher.settings.max_download
    fetched = fetcher.fetch(task.model, "model", folder / "source", parts[0])
    data = None
    if task.dataset:
        data = open_dataset(fetcher.fetch(task.dataset, "dataset", folder / "dataset", parts[1]).path, limit, folder)
    loading.report("Loading", "checking the model")
    model = load_source(
        fetched.path,
        fetched.sha256,
        task.model.format,
        task.inputs,
        lambda: show_arrays(data) if data else (),
        task.serving.threads,
        folder,
        limit,
    )
    model = fix_inputs(model, task.fixed, folder, task.serving.threads)
    dataset = None
    if data:
        loading.report("Loading", "checking the dataset", 0.5)
        dataset = read_dataset(data, model.inputs, limit, task.serving.preprocessing, model.states)
    job = Job(model, dataset, task.recipe, task.serving.threads, folder, fetcher.settings)
    return compress(job, working)


def require_chosen(choice: Choice, outcome: Outcome) -> Candidate:
    """The chosen candidate.

    Raises:
        TaskError: ObjectivesNotMet, with the candidate that came closest.
    """
    if choice.chosen is not None:
        return choice.chosen
    closest = choice.closest
    nearest = f"; {closest.method} came closest: {closest.rejected}" if closest else ""
    raise TaskError(
        "ObjectivesNotMet",
        f"No candidate meets the objectives{nearest}. Relax that objective, or start from a smaller model.",
        closest=closest,
        original=msgspec.structs.replace(outcome.original.measured, outputs=()),
    )
