"""What compression must take whole: architectures at full topology and small width, by either torch exporter."""

from tests.architectures.catalogue import NAMES, Feed, example, expected, module
from tests.architectures.export import Exporter, export, opsets

__all__ = ["NAMES", "Exporter", "Feed", "example", "expected", "export", "module", "opsets"]
