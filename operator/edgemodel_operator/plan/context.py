"""What every part of a plan looks at."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from edgemodel_contract.task import Task
from edgemodel_operator.api import EdgeModel, Spec
from edgemodel_operator.observed import Observed
from edgemodel_operator.settings import Settings


@dataclass(frozen=True)
class Context:
    """One EdgeModel whose ``spec`` can be carried out, the ``task`` that it asks for, and all that is known."""

    model: EdgeModel
    spec: Spec
    task: Task
    observed: Observed
    settings: Settings
    now: datetime

    @property
    def staleness(self) -> timedelta:
        """Figures older than this say nothing about now."""
        return timedelta(seconds=3 * self.settings.scrape_interval)
