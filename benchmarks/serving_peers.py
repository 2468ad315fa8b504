"""What people would otherwise write: FastAPI in front of the model, served by uvicorn.

And the least that a Python server can do over gRPC: give back the bytes it got.

python -m benchmarks.serving_peers FOLDER (model.predict | signature | echo) PORT
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from benchmarks.serving_model import NUMBERS, WORDS

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def app(folder: Path, kind: str) -> Any:
    """Makes the application."""
    import numpy as np
    import tensorflow as tf
    from fastapi import FastAPI
    from pydantic import create_model

    fields: dict[str, Any] = dict.fromkeys(NUMBERS, (float, ...))
    fields |= dict.fromkeys(WORDS, (str, ...))
    row_type = create_model("Row", **fields)
    request_type = create_model("Request", instances=(list[row_type], ...))
    application = FastAPI()

    def tensors(request: Any) -> dict[str, Any]:
        return {
            name: tf.constant([getattr(row, name) for row in request.instances])
            for name in (*NUMBERS, *WORDS)
        }

    if kind == "signature":
        model = tf.saved_model.load(str(folder / "serving" / "1"))
        signature = model.signatures["columns"]

        # Without await inside, so that it runs on the event loop: quicker here than the threads
        # that FastAPI uses for plain functions.
        async def predict(request: request_type) -> Any:
            answer = signature(**tensors(request))["probability"].numpy()
            return {"predictions": answer.tolist()}

        application.state.model = model  # keeps the tables alive
    else:
        import keras

        keras_model = keras.models.load_model(folder / "model.keras")

        def predict(request: request_type) -> Any:  # type: ignore[misc]
            answer = keras_model.predict(tensors(request), verbose=0)["probability"]
            return {"predictions": np.asarray(answer).tolist()}

    predict.__annotations__["request"] = request_type
    application.post("/predict")(predict)
    return application


async def echo(port: int) -> None:
    """Answers every gRPC Predict with its own bytes: no parsing, no model."""
    import grpc

    async def same(request: bytes, _context: Any) -> bytes:
        return request

    server = grpc.aio.server()
    methods = {"Predict": grpc.unary_unary_rpc_method_handler(same)}
    service = "tensorflow.serving.PredictionService"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, methods),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    print("ready", flush=True)
    await server.wait_for_termination()


def main() -> None:
    import uvicorn
    import uvloop

    folder, kind, port = sys.argv[1:]
    if kind == "echo":
        uvloop.run(echo(int(port)))
    application = app(Path(folder), kind)
    print("ready", flush=True)
    uvicorn.run(
        application, host="127.0.0.1", port=int(port), log_level="error", loop="uvloop",
        http="httptools", access_log=False,
    )  # fmt: skip


if __name__ == "__main__":
    main()
