"""What the tests of the native kernels share."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from torch.utils._python_dispatch import TorchDispatchMode

from convrnn.ops import native
from operations import NATIVE

needs_library = pytest.mark.skipif(not native.available(), reason="no compiler was there at installation")
INSTRUCTION_SETS = native.instruction_sets() if native.available() else ()
EVERY_SET = pytest.mark.parametrize("instruction_set", INSTRUCTION_SETS)
EVERY_OPERATION = pytest.mark.parametrize("operation", NATIVE.values(), ids=NATIVE)


class Recorder(TorchDispatchMode):
    """Lists the calls of this package's registered operations: name, arguments, result."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if function.namespace == "convrnn":
            self.calls.append((function, args, result))
        return result

    def native_calls(self):
        return [call for call in self.calls if call[0].name().startswith("convrnn::native_")]


def run_script(script, *arguments, **environment):
    """What a script prints as JSON, in a process of its own with these variables."""
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-c", script, *arguments]
    environment = os.environ | {"PYTHONPATH": path} | environment
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
