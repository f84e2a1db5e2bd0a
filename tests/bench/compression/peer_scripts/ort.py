"""onnxruntime's quantization, with its defaults: static (QDQ) or dynamic."""

import argparse

from common import Reader, Samples, answer, arguments, discard, preprocessed
from onnxruntime.quantization import quantize_dynamic, quantize_static


def main() -> None:
    """Pre-process, quantize."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dynamic", action="store_true")
    options = arguments(parser)
    ready = preprocessed(options.model, options.out)
    if options.dynamic:
        quantize_dynamic(ready, options.out)
    else:
        quantize_static(ready, options.out, Reader(Samples(options.dataset)))
    discard(ready)
    answer(options.out)


if __name__ == "__main__":
    main()
