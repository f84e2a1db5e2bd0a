"""The only place that imports ONNX Runtime.

Its official builds report usage from the moment they are loaded, on Linux too since 1.29: they start a thread, write
a device id under the user's cache folder and send the model's file name and hashes. The variable has to be in the
environment before the library is loaded; the call covers versions that do not know the variable.
"""

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime

onnxruntime.disable_telemetry_events()

__all__ = ["onnxruntime"]
