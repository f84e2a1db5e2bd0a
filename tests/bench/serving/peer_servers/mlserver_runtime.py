"""An MLServer runtime; started by ``mlserver start`` on a folder with its settings."""

import logging

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from session import load

logging.disable(logging.INFO)


class Rows(MLModel):
    async def load(self) -> bool:
        self.session = load(self.settings.parameters.uri)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        (rows,) = (NumpyCodec.decode_input(tensor) for tensor in payload.inputs)
        (output,) = self.session.run(None, {"x": rows})
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("y", output)])
