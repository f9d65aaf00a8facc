"""The Triton kernels: their results in the interpreter, compilation even without a GPU, and when they are chosen."""

import itertools
import os
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch._subclasses import FakeTensorMode

from convrnn import ops
from convrnn.ops import cudnn, dispatch, triton
from convrnn.ops.operands import LSTMOperands, Windows
from convrnn.ops.triton import launcher, tiles
from convrnn.ops.triton.tiles import Tile
from convrnn.ops.triton.windowed import windowed_bilstm, windowed_lstm
from operations import draw_float32, values_and_gradients

HERE = Path(__file__).parent
OPTIONAL = ("bias", "weight_peephole", "initial_hidden", "initial_cell")
needs_triton = pytest.mark.skipif(tiles.MISSING is not None, reason="Triton is not installed")


def run_kernel_tests(**environment):
    """Two files of tests in a process of their own: the interpreter is chosen when a kernel is decorated."""
    files = [str(HERE / name) for name in ("triton_kernels.py", "triton_calls.py")]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "triton_cases", *files]
    path = os.pathsep.join([str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    without = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        command, cwd=HERE.parents[1], env=without | {"PYTHONPATH": path} | environment, text=True, capture_output=True
    )
    assert done.returncode == 0, done.stdout[-20000:] + done.stderr[-2000:]
    assert "skipped" not in done.stdout.splitlines()[-1]


@needs_triton
def test_kernels_are_right_in_the_interpreter():
    run_kernel_tests(TRITON_INTERPRET="1")


@needs_triton
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_kernels_are_right_on_the_gpu():
    run_kernel_tests()


# Compilation for GPUs that need not exist here.

A100, H100, RTX = (80, 163, 108), (90, 227, 132), (89, 99, 76)  # capability, KiB of shared memory, multiprocessors


def launches_of(monkeypatch, gpu, operation, precision, dtype, with_lengths=True, **sizes):
    """The launches of an operation's forward and backward pass on a GPU: kernel, arguments, warps, stages."""
    _, shared, processors = gpu
    launches = []
    monkeypatch.setattr(tiles, "_chip", lambda _: (shared * 1024, processors))
    monkeypatch.setattr(launcher, "launch", lambda kernel, _, *rest: launches.append((kernel, *rest)))
    monkeypatch.setattr(tiles, "INTERPRETED", False)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        leaves = [t if t is None else t.to(dtype).requires_grad_() for t in draw_float32(**sizes).values()]
        y = operation(*leaves, torch.full((sizes["batch"],), sizes["frames"]) if with_lengths else None)
        torch.autograd.grad(y.sum(), [leaf for leaf in leaves if leaf is not None])
    finally:
        torch.set_float32_matmul_precision(before)
    return launches


def windowed(reduce, sequence="cell", kernel_size=5):
    def operation(*tensors):
        options = (kernel_size, 2, sequence, reduce, False, tensors[0].dtype)
        return torch.ops.convrnn.triton_windowed_lstm(*tensors, *options)

    return operation


def training(reduce, sequence="cell", kernel_size=5):
    """The same without PyTorch's dispatcher: few windows then keep their states for the backward pass."""

    def operation(*tensors):
        return windowed_lstm(LSTMOperands(*tensors), Windows(kernel_size, 2, sequence, reduce, False))

    return operation


def windowed_both(reduce):
    """Both directions, without PyTorch's dispatcher."""

    def operation(*tensors):
        operands = LSTMOperands(*tensors)
        return torch.stack(windowed_bilstm(operands, operands, Windows(5, 2, "cell", reduce, False)))

    return operation


def whole(*tensors):
    return torch.ops.convrnn.triton_lstm(*tensors, False)[0]


def both(*tensors):
    *parameters, _ = tensors[1:]
    return torch.ops.convrnn.triton_bilstm(*tensors, *parameters)[0]


def compiled(gpu, kernel, arguments, warps=4, stages=3):
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile
    from triton.runtime.jit import mangle_type

    constants = {p.name for p in kernel.params if p.is_constexpr} | {n for n, a in arguments.items() if a is None}
    signature, values, hints = {}, {}, {}
    for place, name in enumerate(kernel.arg_names):
        signature[name] = "constexpr" if name in constants else mangle_type(arguments[name])
        if name in constants:
            values[(place,)] = arguments[name]
        elif isinstance(arguments[name], torch.Tensor):
            hints[(place,)] = [["tt.divisibility", 16]]
    source = ASTSource(fn=kernel, signature=signature, constexprs=values, attrs=hints)
    options = {"num_warps": warps, "num_stages": stages}
    return compile(source, target=GPUTarget("cuda", gpu[0], 32), options=options)


PAPERS = {"frames": 180, "features": 26, "hidden": 100}
LONG = {"batch": 32, "frames": 1, "features": 100, "hidden": 256}


@needs_triton
@pytest.mark.parametrize(
    ("gpu", "operation", "precision", "dtype", "sizes", "kernels"),
    [
        pytest.param(
            H100, windowed("last"), "highest", torch.bfloat16, PAPERS | {"batch": 128}, {"resident"}, id="bf16"
        ),
        pytest.param(A100, windowed("max"), "highest", torch.float16, PAPERS | {"batch": 128}, {"resident"}, id="fp16"),
        pytest.param(
            RTX, windowed("last"), "highest", torch.bfloat16, PAPERS | {"batch": 128}, {"stepwise"}, id="small-chip"
        ),
        pytest.param(
            H100, windowed("mean"), "highest", torch.float32, PAPERS | {"batch": 256}, {"stepwise"}, id="ieee"
        ),
        pytest.param(H100, windowed("last"), "high", torch.float32, PAPERS | {"batch": 4}, {"streamed"}, id="tf32x3"),
        pytest.param(
            A100,
            windowed("last"),
            "medium",
            torch.float32,
            PAPERS | {"batch": 8, "hidden": 50},
            {"resident"},
            id="tf32",
        ),
        pytest.param(
            A100, windowed("max"), "highest", torch.float32, PAPERS | {"batch": 32}, {"streamed"}, id="few-windows"
        ),
        pytest.param(
            A100,
            training("max", "hidden"),
            "highest",
            torch.float16,
            PAPERS | {"batch": 32, "hidden": 200},
            {"streamed"},
            id="states-kept",
        ),
        pytest.param(
            RTX,
            windowed("last"),
            "medium",
            torch.float32,
            PAPERS | {"batch": 16, "hidden": 200},
            {"streamed"},
            id="few-windows-small-chip",
        ),
        pytest.param(
            H100,
            windowed_both("last"),
            "highest",
            torch.bfloat16,
            PAPERS | {"batch": 64},
            {"resident"},
            id="both-bf16",
        ),
        pytest.param(
            A100, windowed_both("max"), "highest", torch.float16, PAPERS | {"batch": 8}, {"resident"}, id="both-fp16"
        ),
        pytest.param(
            H100, windowed_both("max"), "highest", torch.float32, PAPERS | {"batch": 32}, {"streamed"}, id="both-few"
        ),
        pytest.param(
            H100, windowed_both("last"), "high", torch.float32, PAPERS | {"batch": 256}, {"stepwise"}, id="in-turn"
        ),
        pytest.param(H100, whole, "highest", torch.float32, LONG, {"sequence"}, id="whole"),
        pytest.param(H100, both, "highest", torch.float32, LONG, {"sequence"}, id="both-whole"),
        pytest.param(RTX, whole, "highest", torch.float32, LONG | {"batch": 600}, {"sequence"}, id="whole-small-chip"),
        pytest.param(H100, both, "highest", torch.bfloat16, LONG, {"sequence"}, id="both-whole-bf16"),
    ],
)
def test_kernels_compile_for_gpus_and_fit_them(monkeypatch, tmp_path, gpu, operation, precision, dtype, sizes, kernels):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    launches = launches_of(monkeypatch, gpu, operation, precision, dtype, **sizes)
    modules = [kernel.fn.__module__.rpartition(".")[2] for kernel, *_ in launches]
    assert set(modules) - {"windows"} == kernels
    names = {kernel.fn.__name__ for kernel, *_ in launches}
    assert {"forward", "backward"} <= names
    for launch in launches:
        # The interpreter takes arguments that a kernel does not have.
        assert launch[1].keys() == set(launch[0].arg_names)
        # A100s and H100s keep 1 KiB of it for themselves.
        assert compiled(gpu, *launch).metadata.shared <= gpu[1] * 1024


REDUCTIONS = [("last", ()), ("mean", OPTIONAL), ("max", OPTIONAL[:1]), ("none", OPTIONAL)]


RESIDENT = Tile("resident", rows=16, units=16, inner=0, warps=4, stages=2)
KINDS = {
    "resident": RESIDENT,
    "streamed": replace(RESIDENT, kind="streamed", inner=16),
    "stepwise": replace(RESIDENT, kind="stepwise"),
}


def every_option():
    """Every tile, sequence and reduction. Half are marked slow; the others still cover every pair of two options."""
    for number, (reduce, without) in enumerate(REDUCTIONS):
        for place, (kind, hidden) in enumerate(itertools.product(KINDS, [True, False])):
            sequence = "hidden" if hidden else "cell"
            marks = pytest.mark.slow if (number + place // 2 + hidden) % 2 else ()
            yield pytest.param(KINDS[kind], sequence, reduce, without, marks=marks, id=f"{reduce}-{sequence}-{kind}")


@needs_triton
@pytest.mark.parametrize(("tile", "sequence", "reduce", "without"), list(every_option()))
def test_kernels_compile_with_every_option(monkeypatch, tmp_path, tile, sequence, reduce, without):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(tiles, "choose", lambda *_: tile)
    sizes = {"batch": 2, "frames": 3, "hidden": 16, "without": without, "with_lengths": not without}
    options = {"sequence": sequence, "kernel_size": 1 if reduce == "mean" else 3}
    operations = [windowed(reduce, **options), *([training(reduce, **options)] if tile.kind == "streamed" else [])]
    launches = [launches_of(monkeypatch, A100, each, "medium", torch.float32, **sizes) for each in operations]
    for launch in itertools.chain(*launches):
        kernel, arguments = launch[0].fn, launch[1]
        assert arguments.keys() == set(launch[0].arg_names)
        ptx = compiled(A100, *launch).asm["ptx"]
        # In a maximum the interpreter always keeps NaN, the GPU only if asked to. One state has no maximum.
        compares = kernel.__name__ == "forward" and arguments.get("cell_before", True) is not None
        assert ("max.NaN" in ptx) == (reduce == "max" and compares)


@needs_triton
def test_compiled_kernels_are_told_apart_as_triton_does():
    from convrnn.ops.triton.kernels import windows

    numbers = {"sequences": 2, "frames": 9, "windows": 4, "stride": 2, "first": 0, "step": 1}
    constants = {"KERNEL_SIZE": 3, "MOST": 2, "COLUMNS": 8, "PRECISION": "ieee", "ROWS": 16, "BLOCK": 128}
    aligned, others = torch.zeros(64), torch.zeros(65)[1:]
    usual = {"gradients": aligned, "total": torch.zeros(64), **numbers, **constants}

    def variant(**changed):
        return launcher.variant(launcher.parameters(windows.sum_windows), usual | changed)

    assert variant() == variant(gradients=torch.ones(32), frames=7, stride=16)
    changes = [
        *({"gradients": others}, {"gradients": aligned.half()}, {"total": None}),
        *({"frames": 2**31}, {"windows": 2**31}, {"frames": 2**31, "windows": 2**31}),
        *({"KERNEL_SIZE": 5}, {"PRECISION": "tf32"}),
    ]
    assert len({variant(), *(variant(**change) for change in changes)}) == 1 + len(changes)


@needs_triton
def test_the_interpreter_also_takes_tensors_on_the_gpu(monkeypatch):
    launched = []
    monkeypatch.setattr(tiles, "INTERPRETED", True)
    with FakeTensorMode():
        x = torch.empty(2, device="cuda")
    launcher.launch({(3,): lambda **arguments: launched.append(arguments)}, (3,), {"x": x})
    assert launched == [{"x": x, "num_warps": 4, "num_stages": 3}]


@needs_triton
@pytest.mark.parametrize(("batch", "directions"), [(64, [2]), (128, [1, 1])])
def test_few_windows_in_both_directions_take_one_launch(monkeypatch, batch, directions):
    sizes = PAPERS | {"batch": batch}
    found = launches_of(monkeypatch, H100, windowed_both("last"), "highest", torch.bfloat16, **sizes)
    assert [arguments["DIRECTIONS"] for _, arguments, *_ in found if arguments.get("y") is not None] == directions


def test_precision_follows_pytorchs_setting(monkeypatch):
    monkeypatch.setattr(tiles, "INTERPRETED", False)
    before = torch.get_float32_matmul_precision()
    try:
        found = []
        for setting in ("highest", "high", "medium"):
            torch.set_float32_matmul_precision(setting)
            found.append((tiles.precision(torch.float32), tiles.precision(torch.bfloat16)))
    finally:
        torch.set_float32_matmul_precision(before)
    assert found == [("ieee", "bf16"), ("tf32x3", "bf16"), ("tf32", "bf16")]


# The choice of the backend.


def runs(name, x):
    """Whether a windowed LSTM over x runs on this backend."""
    (backend,) = [each for each in dispatch.TABLE if each.name == name]
    return dispatch.choose("windowed_lstm", LSTMOperands(x, x, x, None)) is backend.operations["windowed_lstm"]


def test_triton_does_not_run_on_the_cpu(monkeypatch):
    monkeypatch.setattr(tiles, "INTERPRETED", False)
    monkeypatch.setattr(dispatch, "_warned", set())
    tensors = draw_float32()
    with ops.use_backend("reference"):
        expected = values_and_gradients(ops.lstm, tensors)
    with ops.use_backend("triton"):
        with pytest.warns(UserWarning, match="Triton backend cannot run this.*: x is on cpu") as caught:
            results = [values_and_gradients(ops.lstm, tensors) for _ in range(2)]
        assert len(caught) == 1
        assert caught[0].filename == str(HERE.parent / "operations.py")
    assert all(torch.equal(value, expected[name]) for result in results for name, value in result.items())
    assert not runs("triton", tensors["x"])
    assert runs("native", tensors["x"]) == ops.native.available()


@pytest.mark.parametrize("chosen", [True, False])
@pytest.mark.parametrize("missing", [None, "Triton is not installed"])
@pytest.mark.parametrize(
    ("dtype", "new_enough", "unfit"),
    [
        (torch.float32, True, None),
        (torch.bfloat16, True, None),
        (torch.float64, True, "x is torch.float64"),
        (torch.float32, False, "compute capability 8.0"),
    ],
)
def test_triton_runs_on_gpus_where_it_can(monkeypatch, recwarn, chosen, missing, dtype, new_enough, unfit):
    monkeypatch.setattr(tiles, "MISSING", missing)
    monkeypatch.setattr(dispatch, "_warned", set())
    monkeypatch.setattr(triton, "_new_enough", lambda _: new_enough)
    x = FakeGPU(torch.zeros(1, dtype=dtype))
    with ops.use_backend("triton") if chosen else nullcontext():
        assert runs("triton", x) == (unfit is None and missing is None)
        assert runs("triton", x) == (unfit is None and missing is None)
        assert not runs("native", x)
    # Without a forced choice there is no warning that another backend runs, unless Triton is missing.
    told = [words for words in ([unfit] if chosen and unfit else [missing] if not unfit else []) if words]
    assert len(recwarn) == len(told)
    assert all(words in str(warning.message) for words, warning in zip(told, recwarn, strict=True))
    for other in ("reference", "native"):
        with ops.use_backend(other):
            recwarn.clear()
            assert not runs("triton", x)
            assert not [warning for warning in recwarn.list if "Triton" in str(warning.message)]


class FakeGPU:
    """A tensor that claims to be on the GPU."""

    device = torch.device("cuda")

    def __init__(self, tensor):
        self.dtype = tensor.dtype


def test_triton_is_not_imported_with_the_package():
    program = "import sys, torch, convrnn.nn; print(any(name.startswith('triton') for name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], text=True, capture_output=True, check=True)
    # PyTorch itself imports it where it is built for the GPU.
    program = "import sys, torch; print(any(name.startswith('triton') for name in sys.modules))"
    assert done.stdout == subprocess.run([sys.executable, "-c", program], text=True, capture_output=True).stdout


# Whole sequences without peepholes.


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("lengths", [None, [11, 6, 0, 2]])
@pytest.mark.parametrize("without", [(), ("bias", "initial_hidden"), ("bias", "initial_hidden", "initial_cell")])
def test_cudnns_operation_equals_the_references(reverse, lengths, without):
    # On the CPU the same operation of PyTorch runs on another library.
    tensors = draw_float32(without=without)
    del tensors["weight_peephole"]
    options = {"lengths": None if lengths is None else torch.tensor(lengths), "reverse": reverse}

    def by_cudnn(*, reverse, **operands):
        return cudnn.lstm_hidden(LSTMOperands(**operands), reverse)

    if lengths is not None:
        tensors["x"][1, 6:] = torch.nan
    with ops.use_backend("reference"):
        expected = values_and_gradients(ops.lstm, tensors, used=("hidden",), **options)
    results = values_and_gradients(by_cudnn, tensors, **options)
    for name, value in results.items():
        torch.testing.assert_close(value, expected["hidden" if name == "y" else name], rtol=1e-5, atol=1e-5)


def both_directions(x, lengths=None, **named):
    """:func:`convrnn.ops.bilstm_hidden` with the parameters of the backward direction under names with a suffix."""
    backward = {name.removesuffix("_reverse"): named.pop(name) for name in list(named) if name.endswith("_reverse")}
    return ops.bilstm_hidden(x, named, backward, lengths=lengths)


@pytest.mark.parametrize("lengths", [None, [11, 6, 0, 2]])
@pytest.mark.parametrize("without", [(), ("bias", "initial_hidden"), ("bias", "initial_hidden", "initial_cell")])
def test_cudnns_operation_for_both_directions_equals_the_references(lengths, without, monkeypatch):
    monkeypatch.setattr(cudnn, "_on_gpu", lambda _: True)
    tensors = draw_float32(without=(*without, "weight_peephole"))
    other = draw_float32(without=(*without, "weight_peephole"), seed=1)
    del other["x"]
    tensors |= {f"{name}_reverse": tensor for name, tensor in other.items()}
    lengths = None if lengths is None else torch.tensor(lengths)
    with ops.use_backend("reference"):
        expected = values_and_gradients(both_directions, tensors, lengths=lengths)
    with ops.use_backend("cudnn"):
        results = values_and_gradients(both_directions, tensors, lengths=lengths)
    for name, value in results.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-5)


def test_hidden_states_computed_alone_equal_the_hidden_states(monkeypatch):
    tensors = draw_float32(without=("weight_peephole",))
    lengths = torch.tensor([11, 6, 0, 2])
    hidden = ops.lstm(**tensors, lengths=lengths)[0]
    assert torch.equal(ops.lstm_hidden(**tensors, lengths=lengths), hidden)
    calls = []
    monkeypatch.setattr(cudnn, "_on_gpu", lambda _: calls.append(None) is None)
    monkeypatch.setattr(dispatch, "_warned", set())
    # On the CPU the native kernel would take precedence.
    with ops.use_backend("cudnn"):
        torch.testing.assert_close(ops.lstm_hidden(**tensors, lengths=lengths), hidden, rtol=1e-5, atol=1e-5)
        with pytest.raises(ValueError, match="bias must have shape"):
            ops.lstm_hidden(**tensors | {"bias": torch.zeros(1)})
        assert len(calls) == 2
        with pytest.warns(UserWarning, match="cuDNN's LSTM has no peepholes"):
            ops.lstm_hidden(**draw_float32())
    assert len(calls) == 2
