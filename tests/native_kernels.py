"""Helpers for the tests of the native kernels."""

import functools
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from convrnn.ops import native
from operations import NATIVE, draw_float32, on, values_and_gradients

needs_library = pytest.mark.skipif(not native.available(), reason="no compiler was there at installation")
INSTRUCTION_SETS = native.instruction_sets() if native.available() else ()
EVERY_SET = pytest.mark.parametrize("instruction_set", INSTRUCTION_SETS)
EVERY_OPERATION = pytest.mark.parametrize("operation", NATIVE.values(), ids=NATIVE)


class Recorder(TorchDispatchMode):
    """Records the calls of this package's registered operations: name, arguments, result."""

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
    """Runs a script in a process of its own with these variables; returns the JSON that it prints."""
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-c", script, *arguments]
    environment = os.environ | {"PYTHONPATH": path} | environment
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def relative_errors(results, exact):
    """The differences from ``exact`` over its largest magnitude, by name; where it is all 0, the result must be 0."""
    scales = {name: float(value.abs().max()) or 1e-30 for name, value in exact.items()}
    return {name: (results[name].double() - value) / scales[name] for name, value in exact.items()}


@dataclass(eq=False)
class Case:
    """A call of an operation, with its results, each computed once."""

    operation: object
    sizes: dict
    options: dict
    without: set
    lengths: torch.Tensor | None
    used: tuple | None = None
    seed: int = 0

    @functools.cached_property
    def tensors(self):
        return draw_float32(self.operation, **self.sizes, without=self.without, seed=self.seed)

    @functools.cached_property
    def mask(self):
        """0 where a window's two largest states differ only by rounding, so that either may get the whole gradient."""
        if self.options.get("reduce") != "max" or self.options["kernel_size"] == 1:
            return None
        doubles = {name: None if t is None else t.double() for name, t in self.tensors.items()}
        states = self.operation(**doubles, **(self.options | {"reduce": "none"}))
        first, second = states.topk(2, dim=2).values.unbind(2)
        return first - second > 1e-5

    def run(self, instruction_set, dtype=torch.float32):
        options = {"lengths": self.lengths, "used": self.used, "mask": self.mask, **self.options}
        with on(instruction_set):
            return values_and_gradients(self.operation, self.tensors, dtype=dtype, **options)

    @functools.cached_property
    def exact(self):
        return self.run(None, torch.float64)

    @functools.cache  # noqa: B019 - the cases live as long as this file
    def errors(self, instruction_set):
        """Errors by name: the largest, the sum of squares and the number; for None, those of eager PyTorch."""
        errors = relative_errors(self.run(instruction_set), self.exact)
        return {name: (float(e.abs().max()), float(e.square().sum()), e.numel()) for name, e in errors.items()}


def check_against_the_reference(case, instruction_set):
    # The same few sums, rounded in two ways.
    errors = relative_errors(case.run(instruction_set), case.run(None))
    assert not {name: float(error.abs().max()) for name, error in errors.items() if not (error.abs() <= 1e-5).all()}
