"""Whether rows of requests may share a run of the model, from the files of its folder."""

from edgemodel_server.model.folder import ModelFolder
from edgemodel_server.model.rows.graph import read_graph
from edgemodel_server.model.rows.proof import Proof, prove
from edgemodel_server.model.rows.wire import WireError


def prove_independence(folder: ModelFolder) -> Proof:
    """What the graph of the model proves. Reads little: call it before the model is loaded, and it costs no memory."""
    for spec in folder.card.outputs:
        if spec.shape[:1] != (-1,):
            return Proof(f"output {spec.name!r} does not have the batch as its first dimension, open to any size")
    try:
        graph = read_graph(folder.model)
    except (OSError, WireError) as error:
        return Proof(f"the model's graph cannot be read: {error}")
    return prove(graph, {spec.name: spec.shape for spec in folder.card.inputs})
