"""A place to run Jobs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from edgemodel_compressor.job.run import answer
from edgemodel_compressor.settings import Settings
from edgemodel_contract.encoding import encode
from edgemodel_contract.progress import Progress
from edgemodel_contract.result import Failure, Result, Success
from edgemodel_contract.task import RegistryAccess, Serving, Source, Task
from tests.unit.compressor.servers import RunningRegistry


@dataclass
class Desk:
    """Tasks in files as the operator mounts them, models in a claim."""

    folder: Path
    settings: Settings
    registry: RunningRegistry
    access: RegistryAccess
    steps: list[Progress]

    def task(self, model: str = "mlp", dataset: str | None = "mlp", /, **changes: Any) -> Task:
        """A task on the shared models, pushed to a repository of this test's own."""
        task = Task(
            name="digits",
            model=Source(uri=f"pvc://models/{model}.onnx"),
            dataset=Source(uri=f"pvc://models/{dataset}.npz") if dataset else None,
            serving=Serving(class_names=("a", "b", "c", "d")),
            base_image=f"{self.registry.host}/base/server:v1",
            repository=f"{self.registry.host}/models/{self.folder.name.lower().replace('_', '-').strip('-')}",
            engine="engine@sha256:1",
        )
        return msgspec.structs.replace(task, **changes)

    def write(self, task: Task) -> Path:
        """The mounted files of ``task``."""
        (self.folder / "registries.json").write_bytes(encode(self.access))
        path = self.folder / "task.json"
        path.write_bytes(encode(task))
        return path

    def run(self, task: Task) -> Result:
        """Do the task in this process."""
        return answer(self.write(task), self.settings, self.steps.append)

    def succeed(self, task: Task) -> Success:
        """Do the task, which is expected to succeed."""
        result = self.run(task)
        assert isinstance(result, Success), result
        return result

    def fail(self, task: Task) -> Failure:
        """Do the task, which is expected to fail with a sentence."""
        result = self.run(task)
        assert isinstance(result, Failure), result
        assert result.message.endswith((".", "…"))
        return result
