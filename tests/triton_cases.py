"""Tiles, operations and operands of the tests of the Triton kernels; as a plugin, their fixtures.

The tiles are small, so that small inputs need several programs, each with several blocks of units.
"""

import functools
from dataclasses import replace

import pytest
import torch

from convrnn import ops
from convrnn.ops.operands import LSTMOperands
from convrnn.ops.triton import tiles
from convrnn.ops.triton.tiles import Tile
from operations import draw_float32, values_and_gradients

DEVICE = "cpu" if tiles.INTERPRETED else "cuda"
TILES = {
    "resident": Tile("resident", rows=16, units=32, inner=0, warps=4, stages=1, programs=2),
    "projecting": Tile("resident", rows=16, units=32, inner=0, warps=4, stages=1, inputs=16, programs=2),
    "streamed": Tile("streamed", rows=16, units=32, inner=16, warps=4, stages=3),
    "stepwise": Tile("stepwise", rows=16, units=16, inner=16, warps=4, stages=3),
}
SEQUENCES = ("hidden", "cell")
REDUCTIONS = ("last", "mean", "max", "none")
OPTIONAL = ("bias", "weight_peephole", "initial_hidden", "initial_cell")


def there_and_back(x, *parameters, lengths=None, **named):
    """The features of :func:`convrnn.ops.windowed_bilstm` side by side.

    The parameters of the backward direction have names with a suffix; without any they are those of the forward one.
    """
    windows = {name: named.pop(name) for name in ("kernel_size", "stride", "sequence", "reduce") if name in named}
    backward = {name.removesuffix("_reverse"): named.pop(name) for name in list(named) if name.endswith("_reverse")}
    forward = dict(zip(LSTMOperands.tensor_names[1:], parameters, strict=False)) | named
    return torch.cat(ops.windowed_bilstm(x, forward, backward or forward, lengths=lengths, **windows), dim=-1)


OPERATIONS = {
    "lstm": ops.lstm,
    "cell-last": functools.partial(ops.windowed_lstm, kernel_size=3, stride=2),
    "hidden-max": functools.partial(ops.windowed_lstm, kernel_size=3, stride=2, reduce="max", sequence="hidden"),
    "cell-mean": functools.partial(ops.windowed_lstm, kernel_size=3, stride=2, reduce="mean"),
    "hidden-none": functools.partial(ops.windowed_lstm, kernel_size=3, stride=2, reduce="none", sequence="hidden"),
    "both-max": functools.partial(there_and_back, kernel_size=3, stride=2, reduce="max"),
}
EVERY_OPERATION = pytest.mark.parametrize(
    ("tile", "operation"),
    [
        # Whole sequences have one kind of tile; "resident" differs from "projecting" only in what it reads; and step by
        # step both directions are computed as one is.
        pytest.param(tile, operation, id=name if name == "lstm" else f"{name}-{tile}")
        for name, operation in OPERATIONS.items()
        for tile in {"lstm": ["stepwise"], "both-max": ["projecting", "streamed"]}.get(
            name, ["projecting", "streamed", "stepwise"]
        )
    ],
    indirect=["tile"],
)
EVERY_TILE = pytest.mark.parametrize("tile", TILES, indirect=True)


@pytest.fixture(autouse=True)
def tile(request, monkeypatch):
    chosen = TILES[getattr(request, "param", "resident")]

    # Frames are projected first where the tile needs it.
    monkeypatch.setattr(tiles, "choose", lambda *sizes: replace(chosen, inputs=0) if sizes[2] is None else chosen)
    monkeypatch.setattr(tiles, "choose_step", lambda *_: TILES["stepwise"])


@pytest.fixture(autouse=True)
def within_bounds(monkeypatch):
    """Makes kernels fail in the interpreter if they read or write outside their tensors; a GPU may not notice it."""
    if not tiles.INTERPRETED:
        return
    from triton.runtime import interpreter

    extents = []

    def check(pointers, mask, size):
        addresses = pointers.data[mask.data.astype(bool)]
        if addresses.size:
            first, last = int(addresses.min()), int(addresses.max()) + size
            assert any(begin <= first and last <= end for begin, end in extents), "beside the tensors"

    def checked(name, mask_at):
        original = getattr(interpreter.InterpreterBuilder, name)

        def method(self, pointers, *rest):
            check(pointers, rest[mask_at], pointers.get_element_ty().primitive_bitwidth // 8)
            return original(self, pointers, *rest)

        monkeypatch.setattr(interpreter.InterpreterBuilder, name, method)

    checked("create_masked_load", 0)
    checked("create_masked_store", 1)
    original = interpreter.GridExecutor._init_args_hst

    def init_args(self, args, kwargs):
        copies = original(self, args, kwargs)
        tensors = [value for value in copies[1].values() if isinstance(value, torch.Tensor)]
        extents[:] = [(t.data_ptr(), t.data_ptr() + t.numel() * t.element_size()) for t in tensors]
        return copies

    monkeypatch.setattr(interpreter.GridExecutor, "_init_args_hst", init_args)


@pytest.fixture(autouse=True)
def language_patched_once(monkeypatch):
    """Saves the time in which the interpreter patches Triton's language in every call of a device function.

    That is a third of the time of all tests. Here it does so only in a module's first call, which has the same effect:
    only the kernel's launch is undone.
    """
    if not tiles.INTERPRETED:
        return
    from triton.runtime import interpreter

    original = interpreter._patch_lang
    patched = set()

    def call(self, *args, **kwargs):
        names = id(self.fn.__globals__)
        if names not in patched:
            original(self.fn)
            patched.add(names)
        return self.rewrite()(*args, **kwargs)

    def launch(fn):
        patched.clear()
        return original(fn)

    monkeypatch.setattr(interpreter.InterpretedFunction, "__call__", call)
    monkeypatch.setattr(interpreter, "_patch_lang", launch)


def drawn(**options):
    return {name: None if t is None else t.to(DEVICE) for name, t in draw_float32(**options).items()}


def run(operation, tensors, backend="triton", **options):
    with ops.use_backend(backend):
        return values_and_gradients(operation, tensors, **options)


def distinct(operation, tensors, options, least):
    """0 where a window's two largest states differ only by rounding, so that either may get the whole gradient."""
    if options.get("reduce") != "max" or options["kernel_size"] == 1:
        return None
    doubles = {name: None if t is None else t.double() for name, t in tensors.items()}
    with ops.use_backend("reference"):
        states = operation(**doubles, **(options | {"reduce": "none"}))
    first, second = states.topk(2, dim=2).values.unbind(2)
    return first - second > least


def errors(results, exact):
    """The largest difference from ``exact`` over its largest magnitude, by name."""
    scales = {name: float(value.abs().max()) or 1e-30 for name, value in exact.items()}
    return {name: float((results[name].double() - exact[name]).abs().max()) / scales[name] for name in exact}
