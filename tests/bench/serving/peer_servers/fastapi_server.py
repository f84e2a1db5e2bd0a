"""A plain FastAPI handler."""

import numpy as np
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from session import arguments, load

path, port, _ = arguments()
session = load(path)
app = FastAPI()


class Rows(BaseModel):
    rows: list[list[float]]


@app.get("/ready")
async def ready() -> dict[str, bool]:
    return {"ready": True}


@app.post("/predict")
async def predict(request: Rows) -> dict[str, list[list[float]]]:
    (output,) = session.run(None, {"x": np.asarray(request.rows, dtype=np.float32)})
    return {"outputs": output.tolist()}


uvicorn.run(app, host="127.0.0.1", port=port, access_log=False, log_level="warning")
