"""torch takes seconds to load and hundreds of megabytes: who does not train does not load it."""

import subprocess
import sys


def test_nothing_but_the_training_loads_torch() -> None:
    script = """
import importlib, sys
from pathlib import Path
import edgemodel_compressor
from edgemodel_compressor.train.plan import TrainingPlan

root = Path(edgemodel_compressor.__file__).parent
names = [".".join(path.relative_to(root.parent).with_suffix("").parts) for path in root.rglob("*.py")]
others = [name for name in names if ".train." not in name and not name.endswith("__")]
for name in others:
    importlib.import_module(name)
print(len(others))
sys.exit("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 30
