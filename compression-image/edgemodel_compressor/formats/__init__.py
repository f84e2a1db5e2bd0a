"""Source formats: each becomes one FP32 ONNX model, checked against the original's outputs.

* ``detect``             which of the formats a file or a folder is, told from its bytes
* ``source``             the seam: ``load_source`` detects, unpacks, converts and checks
* ``exported_program``   ``torch.export.save`` (.pt2)
* ``torchscript``        ``torch.jit.save``
* ``transformers``       ``save_pretrained``: config.json and safetensors
* ``verify``             the outputs of the export against those of the original

torch and transformers are imported only in here and in ``train``, and only when a model needs them.
"""

import os

# Read once, when the libraries are loaded: nothing is looked up, downloaded or reported.
os.environ.update(
    HF_HUB_OFFLINE="1",
    TRANSFORMERS_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    HF_HUB_DISABLE_XET="1",
    DO_NOT_TRACK="1",
)
