"""What importing the package loads: the layers need only torch and numpy."""

import subprocess
import sys

import pytest

import convrnn
from native_kernels import needs_library

REPORT = """
import sys
import {baseline}
before = set(sys.modules)
import {modules}
after = set(sys.modules)
print(*sorted({{name.partition(".")[0] for name in (after if {everything} else after - before)}}))
"""

HEAVY = {
    "lightning",
    "lightning_fabric",
    "pandas",
    "soundfile",
    "soxr",
    "opensmile",
    "kaldi_native_fbank",
    "sklearn",
    "scipy",
    "matplotlib",
    "typer",
    "rich",
    "audmetric",
    "jinja2",
    "espeakng_loader",
}


def imported(modules, baseline="torch, numpy", everything=False):
    program = REPORT.format(modules=modules, baseline=baseline, everything=everything)
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_layers_import_only_torch_and_numpy():
    # Modules that torch itself imports late do not count: it imports them for everyone who uses these modules.
    torch_itself = imported("torch.export, torch.library, torch.func", everything=True)
    brought = imported("convrnn, convrnn.nn, convrnn.ops", everything=True)
    assert "convrnn" in brought
    assert brought - torch_itself - set(sys.stdlib_module_names) == {"convrnn"}
    assert not brought & (HEAVY | {"pydantic", "safetensors"})


def test_models_import_no_audio_or_training_libraries():
    brought = imported("convrnn.models, convrnn.features.config, convrnn.features.normalise", everything=True)
    assert {"pydantic", "safetensors"} <= brought
    assert not brought & HEAVY


@needs_library
def test_using_a_layer_does_not_load_pytorchs_compiler():
    program = """
import sys, torch, convrnn
with torch.inference_mode():
    convrnn.nn.CLSTM(3, 4, kernel_size=2)(torch.zeros(1, 5, 3))
    convrnn.nn.LSTM(3, 4)(torch.zeros(1, 5, 3))
layer = convrnn.nn.CBLSTM(3, 4, kernel_size=2)
layer(torch.zeros(1, 5, 3)).sum().backward()
assert "torch._dynamo" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("package", ["convrnn", "convrnn.ops", "convrnn.nn", "convrnn.models"])
def test_everything_public_in_a_package_exists_and_is_documented(package):
    module = sys.modules.get(package) or __import__(package, fromlist=["_"])
    assert module.__doc__
    for name in module.__all__:
        value = getattr(module, name)
        assert value.__doc__, name


def test_the_version_is_that_of_the_distribution():
    assert convrnn.__version__.split(".")[0].isdigit()
