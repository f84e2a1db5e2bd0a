"""Time from the start of the process until it is ready, and what it holds of the machine's memory and disk."""

import asyncio
import statistics

from tests.bench.report import Goal
from tests.bench.serving import load, models
from tests.bench.serving.processes import edgemodel, running
from tests.bench.serving.requests import binary_request
from tests.bench.serving.section import Section, Setting
from tests.bench.usage import memory_mib
from tools.localcluster.errors import ClusterError
from tools.localcluster.images import unpacked_bytes
from tools.localcluster.system.progress import Progress

STARTS = 5
CLIENTS = 8


def footprint(setting: Setting) -> Section:
    """INT8 ResNet-18: its file is about 12 MB."""
    model = models.resnet()
    starts = []
    for _ in range(STARTS):
        server = edgemodel(model, setting.cpus.server)
        try:
            starts.append(server.wait_until_ready())
        finally:
            server.stop()
    with running(edgemodel(model, setting.cpus.server)) as server:
        fresh, _ = memory_mib(server.pid)
        asyncio.run(load.closed_loop(server.port, binary_request(model), CLIENTS, setting.seconds))
        now, highest = memory_mib(server.pid)
    size = model.megabytes
    start = statistics.median(starts)
    section = Section(
        f"Footprint with a model of {size:.1f} MiB",
        [
            ("", "measured"),
            ("start to ready", f"{start:.2f} s"),
            ("resident memory when ready", f"{fresh:.0f} MiB"),
            (f"resident memory after load of {CLIENTS} clients", f"{now:.0f} MiB"),
            ("highest", f"{highest:.0f} MiB"),
        ],
    )
    section.goals += [
        Goal(f"start to ready with a model of {size:.0f} MiB, s", round(start, 3), 1.5),
        Goal("resident memory after load, MiB (150 + 1.5 × model)", round(now, 1), round(150 + 1.5 * size, 1)),
    ]
    section.details = {"startSeconds": starts, "memoryMib": {"ready": fresh, "loaded": now, "highest": highest}}
    _add_image(section)
    return section


def _add_image(section: Section) -> None:
    """The inference image with all it has, the base image included; models are images of their own on top of it."""
    try:
        size = unpacked_bytes("inference", Progress()) / 1e6
    except ClusterError as error:
        section.skipped.append(f"the size of the image: {str(error).splitlines()[0]}")
        return
    section.rows.append(("inference image without a model, unpacked", f"{size:.0f} MB"))
    section.goals.append(Goal("inference image without its model, unpacked, MB", round(size, 1), 350))
    section.details["imageMegabytes"] = size
