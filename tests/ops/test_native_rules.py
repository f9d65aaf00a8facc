"""How the native kernels are chosen and called: fallback, memory, threads, processes, compilers."""

import functools
import json
import os
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch.export import Dim, export
from torch.utils._python_dispatch import TorchDispatchMode

from check_layer import LENGTHS, check_compile, draw_batch, randomised
from convrnn import nn, ops
from convrnn.ops import native
from operations import (
    NATIVE,
    draw_float32,
    draw_lengths,
    outputs_of,
    same,
    values_and_gradients,
)

needs_library = pytest.mark.skipif(not native.available(), reason="no compiler was there at installation")
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


@contextmanager
def threads(count):
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# Which backend runs.


def test_backends():
    assert ops.BACKENDS == ("reference", "native", "triton")
    with pytest.raises(ValueError, match="choose from reference, native, triton"), ops.use_backend("cuda"):
        pass


@needs_library
@EVERY_OPERATION
def test_float32_on_the_cpu_runs_natively_unless_forced_not_to(operation):
    def runs_natively(dtype):
        with Recorder() as recorder:
            operation(**{name: t.to(dtype) for name, t in draw_float32().items()})
        return bool(recorder.native_calls())

    assert runs_natively(torch.float32)
    assert not runs_natively(torch.float64)
    assert not runs_natively(torch.bfloat16)
    with ops.use_backend("reference"):
        assert not runs_natively(torch.float32)
        with ops.use_backend("native"):
            assert runs_natively(torch.float32)
        assert not runs_natively(torch.float32)
    assert runs_natively(torch.float32)


@EVERY_OPERATION
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("backend", [None, "native"])
def test_other_dtypes_run_on_the_reference(operation, dtype, backend):
    with ops.use_backend("reference"):
        expected = values_and_gradients(operation, draw_float32(), dtype=dtype)
    with warnings.catch_warnings():
        # The default says nothing; the forced choice may, once.
        warnings.simplefilter("ignore" if backend else "error")
        if backend is None:
            results = values_and_gradients(operation, draw_float32(), dtype=dtype)
        else:
            with ops.use_backend(backend):
                results = values_and_gradients(operation, draw_float32(), dtype=dtype)
    assert same(results, expected)


@pytest.mark.parametrize("name", [name for name in NATIVE if name != "lstm"])
def test_autocast_takes_windows_to_the_reference(name):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with ops.use_backend("reference"):
            expected = values_and_gradients(NATIVE[name], draw_float32())
        results = values_and_gradients(NATIVE[name], draw_float32())
    assert same(results, expected)


def test_autocast_leaves_whole_sequences_their_precision():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        results = values_and_gradients(ops.lstm, draw_float32())
    expected = values_and_gradients(ops.lstm, draw_float32())
    # On the reference the backward pass is PyTorch's, and follows autocast where it runs within it.
    assert all(torch.equal(value, expected[name]) for name, value in results.items() if native.available())
    assert torch.equal(results["hidden"], expected["hidden"])


@EVERY_OPERATION
def test_function_transforms_give_what_the_reference_gives(operation):
    tensors = draw_float32()
    x = tensors.pop("x")

    def cost(x):
        return sum(y.sin().sum() for y in outputs_of(operation, tensors | {"x": x}).values())

    def per_frame(x):
        return cost(x.unsqueeze(0))

    with ops.use_backend("reference"):
        expected = [torch.func.grad(cost)(x), torch.vmap(per_frame)(x), *torch.func.jvp(cost, (x,), (x.cos(),))]
    results = [torch.func.grad(cost)(x), torch.vmap(per_frame)(x), *torch.func.jvp(cost, (x,), (x.cos(),))]
    torch.testing.assert_close(results, expected, rtol=1e-5, atol=1e-5)


@EVERY_OPERATION
def test_forward_mode_differentiation_gives_what_the_reference_gives(operation):
    tensors = draw_float32()
    x = tensors.pop("x")

    def tangent():
        with torch.autograd.forward_ad.dual_level():
            given = torch.autograd.forward_ad.make_dual(x, x.cos())
            y = next(iter(outputs_of(operation, tensors | {"x": given}).values()))
            return torch.autograd.forward_ad.unpack_dual(y).tangent

    with ops.use_backend("reference"):
        expected = tangent()
    torch.testing.assert_close(tangent(), expected, rtol=1e-5, atol=1e-5)
    assert expected.any()


@needs_library
@EVERY_OPERATION
def test_results_are_the_same_with_and_without_gradients(operation):
    tensors = draw_float32(frames=60, hidden=50)
    without = outputs_of(operation, tensors)
    tensors["x"].requires_grad_()
    assert same(without, outputs_of(operation, tensors))


@needs_library
@EVERY_OPERATION
def test_second_derivatives_are_refused_with_the_way_to_them(operation):
    def second(backend):
        tensors = draw_float32()
        x = tensors["x"].requires_grad_()
        with ops.use_backend(backend):
            cost = sum(y.square().sum() for y in outputs_of(operation, tensors).values())
        (gradient,) = torch.autograd.grad(cost, x, create_graph=True)
        return functools.partial(torch.autograd.grad, gradient.sum(), x)

    refused = second("native")
    with pytest.raises(RuntimeError, match=r'use_backend\("reference"\)'):
        refused()
    assert second("reference")()[0].any()


def run_script(script, *arguments, **environment):
    """What a script prints as JSON, in a process of its own with these variables."""
    path = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-c", script, *arguments]
    environment = os.environ | {"PYTHONPATH": path} | environment
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


WARNINGS = """
import functools, json, warnings, torch
caught = warnings.catch_warnings(record=True).__enter__()
warnings.simplefilter("always")
from convrnn import ops
from operations import NATIVE, draw_float32, same, values_and_gradients

operation, tensors = NATIVE["windowed-max"], draw_float32(frames=7, features=3, hidden=4)
doubles = {name: tensor.double() for name, tensor in tensors.items()}

def autocast():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        operation(**tensors)

calls = {
    "float64": functools.partial(operation, **doubles),
    "autocast": autocast,
    "transform": lambda: torch.func.grad(lambda x: operation(**tensors | {"x": x}).sum())(tensors["x"]),
    "float32": lambda: (operation(**tensors), ops.lstm(**tensors)),
}

def messages(call):
    before = len(caught)
    call()
    return [f"{w.category.__name__}: {w.message}" for w in caught[before:] if "convrnn" in str(w.message)
            or "native" in str(w.message)]
"""

MISSING = """
# Float32 last: nothing is missed before.
default = {name: [messages(call), messages(call)] for name, call in calls.items()}
results = values_and_gradients(operation, tensors)
with ops.use_backend("reference"):
    expected = values_and_gradients(operation, tensors)
print(json.dumps({
    "default": default, "available": ops.native.available(), "sets": ops.native.instruction_sets(),
    "same": same(results, expected),
}))
"""

FORCED = """
default = [messages(call) for call in calls.values()]
with ops.use_backend("native"):
    forced = {name: [messages(call), messages(call)] for name, call in calls.items()}
print(json.dumps({"default": default, "forced": forced}))
"""


@pytest.mark.parametrize("content", [None, b"", b"not a library"])
def test_a_missing_library_is_told_once_and_the_reference_runs(tmp_path, content):
    path = tmp_path / "kernels.so"
    if content is not None:
        path.write_bytes(content)
    told = run_script(WARNINGS + MISSING, CONVRNN_NATIVE_LIBRARY=str(path))
    [first, again] = told["default"].pop("float32")
    assert len(first) == 1
    assert first[0].startswith("UserWarning: ")
    assert str(path) in first[0]
    assert again == []
    assert all(messages == [[], []] for messages in told["default"].values())
    assert not told["available"]
    assert told["sets"] == []
    assert told["same"]


@needs_library
def test_what_cannot_run_natively_is_told_once_where_native_is_forced():
    told = run_script(WARNINGS + FORCED)
    assert told["default"] == [[], [], [], []]
    assert told["forced"].pop("float32") == [[], []]
    for reason, [first, again] in told["forced"].items():
        assert len(first) == 1, reason
        assert first[0].startswith("UserWarning: ")
        assert again == []


# Memory.


def saved_bytes(operation, tensors):
    """Of what autograd keeps for the backward pass besides the operation's own inputs."""
    inputs = {tensor.untyped_storage().data_ptr() for tensor in tensors.values()}
    saved = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in inputs:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        outputs = outputs_of(operation, tensors)
    return sum(saved.values()), sum(y.untyped_storage().nbytes() for y in outputs.values())


@needs_library
@EVERY_OPERATION
def test_what_the_backward_pass_keeps(operation):
    tensors = {name: t.requires_grad_() for name, t in draw_float32(frames=40).items()}
    with ops.use_backend("native"):
        saved, results = saved_bytes(operation, tensors)
        with torch.no_grad():
            assert saved_bytes(operation, tensors)[0] == 0
    if operation is ops.lstm:
        # The two states, which are the results, and five more for the gates.
        assert saved == results // 2 * 7
    else:
        # Of every window i, f and g of its last step, and o of hidden states, for 21 units in whole vectors of 16.
        windows = outputs_of(operation, tensors)["y"].shape[:2].numel()
        assert saved == 4 * windows * 32 * (4 if operation.keywords.get("sequence") == "hidden" else 3)


# Threads and processes.


@needs_library
@EVERY_OPERATION
@pytest.mark.parametrize("batch", [1, 9])
@pytest.mark.parametrize("positions", [None, 3])
def test_every_bit_is_the_same_for_any_number_of_threads_and_in_every_call(operation, batch, positions):
    if operation is ops.lstm and positions:
        pytest.skip("has no position weights")
    tensors = draw_float32(batch=batch, frames=121, features=26, hidden=100, positions=positions)
    results = []
    for count in (1, 1, 2, 3, 1):
        with threads(count), ops.use_backend("native"):
            results.append(values_and_gradients(operation, tensors, lengths=draw_lengths(batch, 121)))
    for other in results[1:]:
        assert not [name for name, value in other.items() if not torch.equal(value, results[0][name])]


@needs_library
@EVERY_OPERATION
@pytest.mark.parametrize("count", [16, 70])
def test_more_threads_than_cores_change_no_bit(operation, count):
    tensors = draw_float32(batch=33, frames=61, features=26, hidden=101)
    results = []
    for each in (1, count):
        with threads(each):
            results.append(values_and_gradients(operation, tensors))
    assert same(*results)


@needs_library
@EVERY_OPERATION
def test_one_backward_pass_leaves_the_next_what_it_needs(operation):
    leaves = {name: tensor.requires_grad_() for name, tensor in draw_float32().items()}
    with ops.use_backend("native"):
        cost = sum(y.square().sum() for y in outputs_of(operation, leaves).values())
        first = torch.autograd.grad(cost, [*leaves.values()], retain_graph=True)
        assert all(map(torch.equal, first, torch.autograd.grad(cost, [*leaves.values()])))


@needs_library
@pytest.mark.parametrize("count", [1, 2])
def test_python_threads_may_call_at_once(count):
    calls = [
        (operation, draw_float32(batch=5, frames=40, features=13, hidden=hidden, seed=hidden))
        for hidden in (33, 64)
        for operation in NATIVE.values()
    ]
    expected = [values_and_gradients(*call) for call in calls]
    with threads(count), ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda call: values_and_gradients(*call), 4 * calls))
    assert all(same(result, other) for result, other in zip(results, 4 * expected, strict=True))


SUMMARY = """
import hashlib
from operations import NATIVE, draw_float32, values_and_gradients

def summary():
    digest = hashlib.sha256()
    for operation in NATIVE.values():
        # Small enough for PyTorch itself to use one thread for all but its products.
        tensors = draw_float32(batch=6, frames=60, features=26, hidden=50)
        for value in values_and_gradients(operation, tensors).values():
            digest.update(value.numpy().tobytes())
    return digest.hexdigest()
"""

FORK = """
import json, os, signal, sys, torch
torch.set_num_threads(2)
(torch.randn(4_000_000) * 2 + 1).sum()  # on PyTorch's threads, whatever the kernel does
before = None if "late" in sys.argv else summary()
receive, send = os.pipe()
child = os.fork()
if child == 0:
    # Ends a child that waits for threads which only its parent has.
    signal.alarm(60)
    torch.set_num_threads(2)
    os.write(send, summary().encode())
    os._exit(0)
status = os.waitpid(child, 0)[1]
os.close(send)
print(json.dumps({"before": before, "status": status, "child": os.read(receive, 100).decode(), "after": summary()}))
"""


@needs_library
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("environment", [{}, {"CONVRNN_NATIVE_THREADS": "pthread"}], ids=["openmp", "pthread"])
@pytest.mark.parametrize("late", [False, True])
def test_a_forked_process_computes_with_threads_of_its_own(environment, late):
    names = {}
    exec(SUMMARY, names)  # noqa: S102 - the very text that the script runs
    here = names["summary"]()
    told = run_script(SUMMARY + FORK, *(["late"] if late else []), **environment)
    assert told == {"before": None if late else here, "status": 0, "child": here, "after": here}


# Compilers.


LAYERS = {
    "clstm": lambda: nn.CLSTM(3, 4, 3, 2, reduce="max"),
    "extended-clstm": lambda: nn.ExtendedCLSTM(3, 4, 3, 2),
    "cblstm": lambda: nn.CBLSTM(3, 4, 3, padding="same", learn_initial_state=True),
    "blstm": lambda: nn.LSTM(3, 4, bidirectional=True),
}
EVERY_LAYER = pytest.mark.parametrize("make_layer", LAYERS.values(), ids=LAYERS)


@needs_library
@EVERY_LAYER
@pytest.mark.parametrize("with_lengths", [True, False])
def test_compiled_layers_are_the_layers(make_layer, with_lengths):
    x, lengths = draw_batch(3, torch.float32)
    check_compile(randomised(make_layer, torch.float32), x, lengths if with_lengths else None)


def called_in(graph_module):
    """Names of all registered operations of this package in a graph and in those that it holds."""
    return {
        str(node.target).removeprefix("convrnn.")
        for module in graph_module.modules()
        if isinstance(module, torch.fx.GraphModule)
        for node in module.graph.nodes
        if str(node.target).startswith("convrnn.")
    }


@needs_library
@EVERY_LAYER
def test_compiled_layers_run_natively_and_follow_the_choice_of_backend(make_layer):
    layer, (x, lengths) = randomised(make_layer, torch.float32), draw_batch(3, torch.float32)
    graphs = []

    def record(graph_module, _):
        graphs.append(graph_module)
        return graph_module

    torch._dynamo.reset()
    compiled = torch.compile(layer, backend=record, fullgraph=True)
    compiled(x, lengths)
    assert any("native_" in name for name in called_in(graphs[-1]))
    with ops.use_backend("reference"):
        torch.testing.assert_close(compiled(x, lengths), layer(x, lengths), rtol=1e-5, atol=1e-5)
    assert not any("native_" in name for name in called_in(graphs[-1]))


@needs_library
@EVERY_LAYER
def test_exported_layers_run_where_the_library_is_not_unless_forced(make_layer):
    layer, given = randomised(make_layer, torch.float32), draw_batch(3, torch.float32)
    assert not any("native_" in name for name in called_in(export(layer, given).module()))
    with ops.use_backend("native"):
        assert any("native_" in name for name in called_in(export(layer, given).module()))


@needs_library
@EVERY_LAYER
@pytest.mark.parametrize("with_lengths", [True, False])
def test_exported_layers_are_the_layers_for_any_batch_and_lengths(make_layer, with_lengths):
    layer = randomised(make_layer, torch.float32)
    traced = draw_batch(3, torch.float32)[: 1 + with_lengths]
    free = ({0: Dim.AUTO, 1: Dim.AUTO}, {0: Dim.AUTO})[: 1 + with_lengths]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = export(layer, traced, dynamic_shapes=free)
    for lengths in ([22, 3, 14, 9, 22], [30, 30], list(LENGTHS)):
        x = torch.randn(len(lengths), max(lengths), 3, generator=torch.Generator().manual_seed(0))
        given = (x, torch.tensor(lengths))[: 1 + with_lengths]
        torch.testing.assert_close(program.module()(*given), layer(*given), rtol=1e-5, atol=1e-5)


@needs_library
@pytest.mark.parametrize("everything", [True, False])
@pytest.mark.parametrize("name", ["native_windowed_lstm", "native_lstm"])
def test_registered_operations_keep_pytorchs_rules(name, everything):
    optional = ("bias", "weight_peephole", "initial_hidden", "initial_cell")
    tensors = draw_float32(batch=2, frames=5, without=() if everything else optional).values()
    leaves = [None if tensor is None else tensor.requires_grad_() for tensor in tensors]
    lengths = torch.tensor([5, 2]) if everything else None
    options = (3, 2, "hidden", "max") if everything else (2, 1, "cell", "last")
    arguments = {
        "native_windowed_lstm": (*leaves, lengths, *options, everything),
        "native_lstm": (*leaves, lengths, everything, True),
    }[name]
    operation = getattr(torch.ops.convrnn, name).default
    torch.library.opcheck(operation, arguments)
    with Recorder() as recorder:
        result = operation(*arguments)
        (result.sum() if name == "native_windowed_lstm" else result[0].sum() + result[1].sum()).backward()
    called = {function.name().removeprefix("convrnn::"): (function, given) for function, given, _ in recorder.calls}
    kept = {"native_windowed_lstm": "native_windowed_lstm_kept"}.get(name, name)
    assert list(called) == [kept, f"{name}_backward"]
    for function, given in called.values():
        torch.library.opcheck(function, given, test_utils=["test_schema", "test_faketensor"])


@needs_library
@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"weight_hh": torch.zeros(84, 21).half()},
            r"weight_hh is torch\.float16; the native kernel is for torch\.float32",
        ),
        ({"weight_hh": torch.zeros(85, 21)}, r"weight_hh must have shape \[84, 21\], but has shape \[85, 21\]"),
        ({"weight_ih": torch.zeros(2, 84, 5)}, r"weight_ih must have shape \[3, 84, 5\]"),
        ({"bias": torch.zeros(1)}, r"bias must have shape \[84\]"),
        ({"lengths": torch.tensor([11])}, r"lengths must have shape \[4\]"),
        ({"kernel_size": 0}, "kernel_size is 0 and stride 2; both must be at least 1"),
    ],
    ids=["dtype", "weight_hh", "positions", "bias", "lengths", "kernel_size"],
)
def test_an_operation_refuses_what_it_would_misread(changes, sentence):
    options = {"lengths": None, "kernel_size": 3, "stride": 2, "sequence": "cell", "reduce": "last", "reverse": False}
    with pytest.raises(ValueError, match=sentence):
        torch.ops.convrnn.native_windowed_lstm(**(draw_float32() | options | changes))
