"""How far the present version has spread, for the status."""

from datetime import datetime

from edgemodel_operator.api import RolloutStatus
from edgemodel_operator.observed import timestamp
from edgemodel_operator.plan.policy.rollout import Admission


def rollout_status(
    before: RolloutStatus | None, version: str | None, admission: Admission, now: datetime
) -> RolloutStatus | None:
    """The rollout of the image ``version``; None where there is none, or no site. ``before`` is the last one that the
    status told of.

    One that was complete stays so while every site within reach is asked for the version: what happens to a site's
    servers later is no rollout.
    """
    if version is None or not admission.total:
        return None
    if before is None or before.version != version:
        before = None
    was_complete = before is not None and before.state == "Complete"
    is_complete = admission.state == "Complete" or (was_complete and admission.is_out)
    is_same = before is not None and (is_complete or not was_complete)
    return RolloutStatus(
        version=version,
        state="Complete" if is_complete else admission.state,
        wave=admission.of if is_complete else admission.wave,
        of=admission.of,
        updated_sites=admission.updated,
        total_sites=admission.total,
        failed_sites=sorted(admission.failed) or None,
        started_at=before.started_at if before is not None and is_same else timestamp(now),
        soak_until=timestamp(admission.soak_until) if admission.soak_until else None,
    )
