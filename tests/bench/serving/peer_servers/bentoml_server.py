"""A BentoML service; started by ``bentoml serve``, which reads the model's path from the environment."""

import os

import bentoml
import numpy as np
from session import load


@bentoml.service(workers=1, threads=1, metrics={"enabled": False}, logging={"access": {"enabled": False}})
class Rows:
    def __init__(self) -> None:
        self.session = load(os.environ["BENCH_MODEL"])

    @bentoml.api
    def predict(self, rows: np.ndarray) -> np.ndarray:
        output: np.ndarray = self.session.run(None, {"x": rows.astype(np.float32)})[0]
        return output
