"""The session that every peer has: one thread, as the server measured against them."""

import sys

import onnxruntime


def load(path: str) -> onnxruntime.InferenceSession:
    """The model."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def arguments() -> tuple[str, int, int]:
    """Model file, port and gRPC port from the command line."""
    _, path, port, grpc_port = sys.argv
    return path, int(port), int(grpc_port)
