"""Which calls run on the native kernels, the warnings where they do not, and what they keep in memory."""

import functools
import warnings

import pytest
import torch

from convrnn import ops
from convrnn.ops import dispatch, native
from convrnn.ops.native import calls, windowed
from convrnn.ops.operands import GRUOperands, LSTMOperands, RNNOperands, Windows
from native_kernels import EVERY_OPERATION, EVERY_SET, Recorder, needs_library, run_script
from operations import NATIVE, cell_of, draw_float32, is_windowed, on, outputs_of, same, values_and_gradients

OPERANDS = {kind.cell: kind for kind in (RNNOperands, GRUOperands, LSTMOperands)}


# The choice of the backend.


def test_the_native_backend_can_be_chosen():
    assert [backend.name for backend in dispatch.TABLE] == ["native", "cudnn", "triton", "reference"]
    with pytest.raises(ValueError, match="choose from reference, native, cudnn, triton"), ops.use_backend("cuda"):
        pass


@needs_library
@EVERY_OPERATION
def test_calls_on_the_cpu_run_natively_except_in_float64_unless_another_backend_is_forced(operation):
    def runs_natively(dtype):
        with Recorder() as recorder:
            operation(**{name: t.to(dtype) for name, t in draw_float32(operation).items()})
        return bool(recorder.native_calls())

    assert runs_natively(torch.float32)
    assert not runs_natively(torch.float64)
    assert runs_natively(torch.bfloat16)
    assert runs_natively(torch.float16)
    with ops.use_backend("reference"):
        assert not runs_natively(torch.float32)
        with ops.use_backend("native"):
            assert runs_natively(torch.float32)
        assert not runs_natively(torch.float32)
    assert runs_natively(torch.float32)


@EVERY_OPERATION
@pytest.mark.parametrize("backend", [None, "native"])
def test_float64_runs_on_the_reference(operation, backend):
    tensors = draw_float32(operation)
    with ops.use_backend("reference"):
        expected = values_and_gradients(operation, tensors, dtype=torch.float64)
    with warnings.catch_warnings():
        # By default there is no warning; a forced choice may give one.
        warnings.simplefilter("ignore" if backend else "error")
        if backend is None:
            results = values_and_gradients(operation, tensors, dtype=torch.float64)
        else:
            with ops.use_backend(backend):
                results = values_and_gradients(operation, tensors, dtype=torch.float64)
    assert same(results, expected)


@EVERY_OPERATION
def test_function_transforms_give_the_references_result(operation):
    tensors = draw_float32(operation)
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
def test_forward_mode_differentiation_gives_the_references_result(operation):
    tensors = draw_float32(operation)
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
    tensors = draw_float32(operation, frames=60, hidden=50)
    without = outputs_of(operation, tensors)
    tensors["x"].requires_grad_()
    assert same(without, outputs_of(operation, tensors))


@needs_library
@EVERY_OPERATION
def test_second_derivatives_are_refused_with_advice(operation):
    def second(backend):
        tensors = draw_float32(operation)
        x = tensors["x"].requires_grad_()
        with ops.use_backend(backend):
            cost = sum(y.square().sum() for y in outputs_of(operation, tensors).values())
        (gradient,) = torch.autograd.grad(cost, x, create_graph=True)
        return functools.partial(torch.autograd.grad, gradient.sum(), x)

    refused = second("native")
    with pytest.raises(RuntimeError, match=r'use_backend\("reference"\)'):
        refused()
    assert second("reference")()[0].any()


WARNINGS = """
import functools, json, warnings, torch
caught = warnings.catch_warnings(record=True).__enter__()
warnings.simplefilter("always")
from convrnn import ops
from operations import NATIVE, draw_float32, same, values_and_gradients

operation = NATIVE["windowed-max"]
tensors = draw_float32(operation, frames=7, features=3, hidden=4)
doubles = {name: tensor.double() for name, tensor in tensors.items()}

calls = {
    "float64": functools.partial(operation, **doubles),
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
# Float32 last: before it, the library is not needed.
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
def test_a_missing_library_gives_one_warning_and_the_reference_runs(tmp_path, content):
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
def test_calls_that_cannot_run_natively_give_one_warning_if_native_is_forced():
    told = run_script(WARNINGS + FORCED)
    assert told["default"] == [[], [], []]
    assert told["forced"].pop("float32") == [[], []]
    for reason, [first, again] in told["forced"].items():
        assert len(first) == 1, reason
        assert first[0].startswith("UserWarning: ")
        assert again == []


# Calls past PyTorch's dispatcher.


class Marked(torch.Tensor):
    pass


@needs_library
@EVERY_OPERATION
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_only_a_call_that_nothing_observes_skips_the_dispatcher(operation, monkeypatch):
    answers, is_observed = [], calls.is_observed

    def record(operands):
        answers.append(is_observed(operands))
        return answers[-1]

    def observed(call):
        answers.clear()
        call()
        return answers[0]

    monkeypatch.setattr(calls, "is_observed", record)
    tensors = draw_float32(operation)
    assert not observed(lambda: operation(**tensors))
    assert observed(lambda: operation(**tensors | {"x": tensors["x"].as_subclass(Marked)}))
    with torch.profiler.profile():
        assert observed(lambda: operation(**tensors))
    with Recorder() as recorder:
        assert observed(lambda: operation(**tensors))
    assert recorder.native_calls()
    assert observed(lambda: torch.jit.trace(lambda x: operation(**tensors | {"x": x}), tensors["x"]))
    tensors["bias"].requires_grad_()
    assert observed(lambda: operation(**tensors))
    with torch.no_grad():
        assert not observed(lambda: operation(**tensors))


@needs_library
@EVERY_OPERATION
@pytest.mark.parametrize(
    "changes",
    [{"weight_hh": torch.zeros(3, 2)}, {"bias": torch.zeros(1)}, {"x": torch.zeros(4, 11, 5, dtype=torch.bfloat16)}],
    ids=["weight_hh", "bias", "dtype"],
)
def test_a_call_past_the_dispatcher_refuses_what_the_operation_refuses(operation, changes):
    tensors = draw_float32(operation) | changes
    with pytest.raises(ValueError, match="must") as direct:
        operation(**tensors)
    with pytest.raises(ValueError, match="must") as registered, Recorder():
        operation(**tensors)
    assert str(direct.value) == str(registered.value)


# Memory.


def saved_bytes(operation, tensors):
    """Bytes that autograd keeps for the backward pass, except the operation's own inputs."""
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


SAVED_VECTORS = {
    NATIVE[name]: vectors
    for name, vectors in {
        **{"windowed-rnn": 1, "windowed-gru": 3, "windowed-gru-after": 4},
        **{"windowed-last": 3, "windowed-mean": 4, "windowed-max": 3, "windowed-none": 4},
    }.items()
}


@needs_library
@EVERY_OPERATION
def test_the_forward_pass_keeps_little_for_the_backward_pass(operation, monkeypatch):
    monkeypatch.setattr(windowed, "saved_steps", lambda *_: 1)
    tensors = {name: t.requires_grad_() for name, t in draw_float32(operation, frames=40).items()}
    with ops.use_backend("native"):
        saved, results = saved_bytes(operation, tensors)
        with torch.no_grad():
            assert saved_bytes(operation, tensors)[0] == 0
    cell = cell_of(operation)
    if not is_windowed(operation):
        # The states, which are the results, and the gates, for an LSTM with tanh(c), for a GRU with W_hn h + b_hn.
        states, gates = {"rnn": (1, 0), "gru": (1, 4), "lstm": (2, 5)}[cell]
        assert saved == results // states * (states + gates)
    else:
        # For every window, the gates of its last step, of a GRU with reset_after also W_hn h + b_hn, of an LSTM without
        # o for cell states; 21 units are padded to vectors of 16.
        windows = outputs_of(operation, tensors)["y"].shape[:2].numel()
        assert saved == 4 * windows * 32 * SAVED_VECTORS[operation]


@needs_library
@EVERY_SET
def test_all_gates_of_short_windows_are_saved_where_that_is_faster_and_takes_little_memory(instruction_set):
    def steps(operation, kernel_size, **sizes):
        given = OPERANDS[cell_of(operation)](**draw_float32(operation, **sizes))
        with native.use_instruction_set(instruction_set):
            return windowed.saved_steps(given, Windows(kernel_size, 1, "hidden", "last", False))

    everything = instruction_set != "avx512"
    assert steps(ops.windowed_lstm, 5) == (5 if everything else 1)
    assert steps(ops.windowed_gru, 8) == (8 if everything else 1)
    assert steps(ops.windowed_rnn, 5) == 1
    assert steps(ops.windowed_lstm, 9) == 1
    # 4 sequences of 70,000 windows, 5 steps, 4 gates, 16 units of 4 bytes: 342 MiB.
    assert steps(ops.windowed_lstm, 5, frames=70_004, features=1, hidden=3) == 1


@needs_library
def test_a_backward_pass_runs_on_the_instruction_set_of_its_forward_pass():
    if len(native.instruction_sets()) < 2:
        pytest.skip("this machine has only one instruction set")
    tensors = draw_float32(batch=2, frames=9, features=5, hidden=21)
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in tensors.items()}
    with on("portable"):
        y = ops.windowed_lstm(**leaves, kernel_size=3)
        expected = torch.autograd.grad(y.sum(), list(leaves.values()), retain_graph=True)
    with on(native.instruction_sets()[0]):
        found = torch.autograd.grad(y.sum(), list(leaves.values()))
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)
