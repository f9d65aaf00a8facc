"""The native kernels with any number of threads, and in forked processes."""

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import torch

from convrnn import ops
from native_kernels import EVERY_OPERATION, needs_library, run_script
from operations import NATIVE, draw_float32, draw_lengths, is_windowed, outputs_of, same, values_and_gradients


@contextmanager
def threads(count):
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@needs_library
@EVERY_OPERATION
@pytest.mark.parametrize("batch", [1, 9])
@pytest.mark.parametrize("positions", [None, 3])
def test_every_bit_is_the_same_for_any_number_of_threads_and_in_every_call(operation, batch, positions):
    if not is_windowed(operation) and positions:
        pytest.skip("has no position weights")
    tensors = draw_float32(operation, batch=batch, frames=121, features=26, hidden=100, positions=positions)
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
    tensors = draw_float32(operation, batch=33, frames=61, features=26, hidden=101)
    results = []
    for each in (1, count):
        with threads(each):
            results.append(values_and_gradients(operation, tensors))
    assert same(*results)


@needs_library
@EVERY_OPERATION
def test_a_second_backward_pass_through_the_same_graph_works(operation):
    leaves = {name: tensor.requires_grad_() for name, tensor in draw_float32(operation).items()}
    with ops.use_backend("native"):
        cost = sum(y.square().sum() for y in outputs_of(operation, leaves).values())
        first = torch.autograd.grad(cost, [*leaves.values()], retain_graph=True)
        assert all(map(torch.equal, first, torch.autograd.grad(cost, [*leaves.values()])))


@needs_library
@pytest.mark.parametrize("count", [1, 2])
def test_python_threads_can_call_at_the_same_time(count):
    calls = [
        (operation, draw_float32(operation, batch=5, frames=40, features=13, hidden=hidden, seed=hidden))
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
        tensors = draw_float32(operation, batch=6, frames=60, features=26, hidden=50)
        for value in values_and_gradients(operation, tensors).values():
            digest.update(value.numpy().tobytes())
    return digest.hexdigest()
"""

FORK = """
import json, os, signal, sys, torch
torch.set_num_threads(2)
(torch.randn(4_000_000) * 2 + 1).sum()  # starts PyTorch's threads, whatever the kernel does
before = None if "late" in sys.argv else summary()
receive, send = os.pipe()
child = os.fork()
if child == 0:
    # Ends a child that waits for threads that only its parent has.
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
def test_a_forked_process_computes_with_its_own_threads(environment, late):
    names = {}
    exec(SUMMARY, names)  # noqa: S102 - the very text that the script runs
    here = names["summary"]()
    told = run_script(SUMMARY + FORK, *(["late"] if late else []), **environment)
    assert told == {"before": None if late else here, "status": 0, "child": here, "after": here}


LIMITED = """
import json, signal, torch
# Ends a process that waits for threads that its runtime did not start.
signal.alarm(60)
torch.set_num_threads(4)
print(json.dumps(summary()))
"""


@needs_library
@pytest.mark.parametrize("limit", ["1", "3"])
def test_a_runtime_may_start_fewer_threads_than_requested(limit):
    names = {}
    exec(SUMMARY, names)  # noqa: S102 - the very text that the script runs
    assert run_script(SUMMARY + LIMITED, OMP_THREAD_LIMIT=limit) == names["summary"]()
