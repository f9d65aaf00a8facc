"""The CPU kernel: the LSTM in C, for float32 (sources in ``csrc``).

The library is loaded with ctypes and depends on nothing of PyTorch's, so that one build serves every version. It is
there where a C compiler was at installation. The operations registered here are differentiable once. Over windows
only the last step's gates are kept for the backward pass, which computes the few states of a window again. Over whole
sequences, which are too long for that, the gates of all steps are kept beside the states.
"""

import ctypes
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from convrnn.ops import geometry

INSTRUCTION_SETS = ("portable", "avx2", "avx512")
_SEQUENCES = ("hidden", "cell")
_REDUCTIONS = ("last", "mean", "max", "none")
_FORWARD, _BACKWARD = 0, 1
_INTERFACE = 2  # CONVRNN_INTERFACE of csrc/lstm.h
_KEPT_GATES = 5  # of whole sequences: i, f, g, o and tanh(c)
_MOST_LANES = 16  # floats of the widest vector

_instruction_set: str | None = None


class _Call(ctypes.Structure):
    """``struct lstm_call`` of ``csrc/lstm.h``, field by field."""

    _sizes = (
        *("batch", "frames", "features", "hidden", "rows", "kernel_size", "stride", "windows"),
        *("reverse", "per_position", "sequence", "reduce", "threads"),
    )
    _tensors = (
        *("lengths", "x", "weight_ih", "weight_hh", "bias", "weight_peephole", "initial_hidden", "initial_cell"),
        *("y", "states_hidden", "states_cell", "gates", "grad_y", "grad_hidden", "grad_cell"),
        *("grad_x", "grad_weight_ih", "grad_weight_hh", "grad_vectors"),
    )
    _fields_ = (*((name, ctypes.c_int64) for name in _sizes), *((name, ctypes.c_void_p) for name in _tensors))


def library_path() -> Path:
    """Where the library is looked for: beside this file, or where ``CONVRNN_NATIVE_LIBRARY`` says.

    Example:
        >>> library_path().suffix
        '.so'
    """
    return Path(os.environ.get("CONVRNN_NATIVE_LIBRARY", Path(__file__).with_name("_native.so")))


def _load() -> ctypes.CDLL | str:
    """The library, or a sentence that says why it is not there."""
    path = library_path()
    try:
        library = ctypes.CDLL(str(path))
        library.convrnn_interface.restype = ctypes.c_int64
        interface = library.convrnn_interface()
    except (OSError, AttributeError) as error:
        missing = not path.exists()
        return f"{path} is not there (no C compiler at installation?)" if missing else f"{path} does not load: {error}"
    if interface != _INTERFACE:
        return f"{path} belongs to another version of convrnn; install convrnn again"
    library.convrnn_lstm.argtypes = (ctypes.POINTER(_Call), ctypes.c_int, ctypes.c_int)
    return library


# Loaded when imported, so that a compiler that traces a layer meets plain values.
_library = _load()

MISSING: str | None = _library if isinstance(_library, str) else None
"""Why the library cannot be used, or None where it can."""


def available() -> bool:
    """Whether the library was built and loads.

    Example:
        >>> available() == (MISSING is None)
        True
    """
    return MISSING is None


@cache
def instruction_sets() -> tuple[str, ...]:
    """The instruction sets that the library holds and this machine runs, the best first; none without the library.

    Example:
        >>> set(instruction_sets()) <= {"avx512", "avx2", "portable"}
        True
    """
    if isinstance(_library, str):
        return ()
    return tuple(name for i, name in reversed(list(enumerate(INSTRUCTION_SETS))) if _library.convrnn_supports(i))


@contextmanager
def use_instruction_set(name: str) -> Iterator[None]:
    """Run the kernel within the ``with`` block on the named instruction set, rather than on the best.

    Raises:
        ValueError: for one that this machine does not run.
    """
    global _instruction_set
    if name not in instruction_sets():
        raise ValueError(f"instruction set {name!r} does not run here; choose from {', '.join(instruction_sets())}")
    before, _instruction_set = _instruction_set, name
    try:
        yield
    finally:
        _instruction_set = before


def _run(direction: int, sizes: dict[str, int], tensors: dict[str, Tensor | None]) -> None:
    """Call the library; the tensors live until it returns."""
    if isinstance(_library, str):
        raise RuntimeError(f"the native backend is missing: {_library}")
    there = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    pointers = {name: tensor.data_ptr() for name, tensor in there.items()}
    call = _Call(**sizes, **pointers, threads=torch.get_num_threads())
    instruction_set = INSTRUCTION_SETS.index(_instruction_set or instruction_sets()[0])
    if _library.convrnn_lstm(ctypes.byref(call), direction, instruction_set):
        raise MemoryError("the native LSTM kernel could not get the memory for its working space")


def _contiguous(tensors: dict[str, Tensor | None]) -> dict[str, Tensor | None]:
    return {name: None if tensor is None else tensor.contiguous() for name, tensor in tensors.items()}


def _check_shape(name: str, tensor: Tensor, shape: Sequence[int]) -> None:
    if tensor.shape != torch.Size(shape):
        raise ValueError(f"{name} must have shape {list(shape)}, but has shape {list(tensor.shape)}")


def _inputs(
    x: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None,
    weight_peephole: Tensor | None,
    initial_hidden: Tensor | None,
    initial_cell: Tensor | None,
    lengths: Tensor | None,
) -> tuple[dict[str, int], dict[str, Tensor | None]]:
    """Sizes and contiguous tensors that all calls have in common.

    Raises:
        ValueError: for a tensor of another dtype or shape, beyond whose memory the kernel would read.
    """
    tensors = {
        "x": x,
        "weight_ih": weight_ih,
        "weight_hh": weight_hh,
        "bias": bias,
        "weight_peephole": weight_peephole,
        "initial_hidden": initial_hidden,
        "initial_cell": initial_cell,
        "lengths": lengths,
    }
    batch, frames, features = x.shape
    hidden = weight_hh.size(-1)
    shapes = {
        "weight_ih": (*weight_ih.shape[:-2], 4 * hidden, features),
        "weight_hh": (4 * hidden, hidden),
        "bias": (4 * hidden,),
        "weight_peephole": (3, hidden),
        "initial_hidden": (hidden,),
        "initial_cell": (hidden,),
        "lengths": (batch,),
    }
    for name, tensor in tensors.items():
        if tensor is None:
            continue
        if tensor.dtype != (torch.int64 if name == "lengths" else torch.float32):
            raise ValueError(f"{name} is {tensor.dtype}; the native kernel is for torch.float32, and int64 lengths")
        _check_shape(name, tensor, shapes.get(name, x.shape))
    sizes = {"batch": batch, "frames": frames, "features": features, "hidden": hidden}
    return sizes | {"per_position": int(weight_ih.dim() == 3)}, _contiguous(tensors)


def _run_backward(sizes: dict[str, int], tensors: dict[str, Tensor | None], with_x: bool) -> list[Tensor]:
    """Gradients of x (empty unless ``with_x``) and of those of the parameters that are there, in their order."""
    x, weight_ih, weight_hh = tensors["x"], tensors["weight_ih"], tensors["weight_hh"]
    assert x is not None
    assert weight_ih is not None
    assert weight_hh is not None
    grad_x = torch.zeros_like(x) if with_x else None
    grad_ih, grad_hh = torch.zeros_like(weight_ih), torch.zeros_like(weight_hh)
    vectors = x.new_zeros(13, sizes["hidden"])
    if sizes["rows"]:
        gradients = {"grad_x": grad_x, "grad_weight_ih": grad_ih, "grad_weight_hh": grad_hh, "grad_vectors": vectors}
        _run(_BACKWARD, sizes, tensors | gradients)
    # The gates in all steps but the first, and in the first, where every row has the same initial state.
    later, first, peepholes, cell, hidden = vectors.split([4, 4, 3, 1, 1])
    initial_hidden = tensors["initial_hidden"]
    if initial_hidden is not None:
        grad_hh += first.flatten().outer(initial_hidden)
    parameters = {
        "bias": (later + first).flatten(),
        "weight_peephole": peepholes.clone(),
        "initial_hidden": hidden.flatten().clone(),
        "initial_cell": cell.flatten().clone(),
    }
    there = [gradient for name, gradient in parameters.items() if tensors[name] is not None]
    return [x.new_empty(0) if grad_x is None else grad_x, grad_ih, grad_hh, *there]


def _fake_gradients(tensors: Sequence[Tensor | None], with_x: bool) -> list[Tensor]:
    x, *parameters = (None if t is None else t.new_empty(t.shape) for t in tensors)
    assert x is not None
    return [x if with_x else x.new_empty(0), *(p for p in parameters if p is not None)]


def _hand_out(gradients: Sequence[Tensor], tensors: Sequence[Tensor | None], with_x: bool) -> list[Tensor | None]:
    """The gradients in the order of x and the parameters, None for what is not there."""
    grad_x, *rest = gradients
    left = iter(rest)
    return [grad_x if with_x else None, *(None if t is None else next(left) for t in tensors[1:])]


# Over windows.


def _windowed_sizes(
    x: Tensor, kernel_size: int, stride: int, sequence: str, reduce: str, lengths: Tensor | None, reverse: bool
) -> dict[str, int]:
    """Options, windows in all, and rows: the windows that lie within their sequence."""
    if kernel_size < 1 or stride < 1:
        raise ValueError(f"kernel_size is {kernel_size} and stride {stride}; both must be at least 1")
    windows = geometry.num_windows(x.size(1), kernel_size, stride)
    if lengths is None:
        rows = x.size(0) * windows
    else:
        rows = int(geometry.num_windows(lengths.clamp(0, x.size(1)), kernel_size, stride).sum())
    return {
        "kernel_size": kernel_size,
        "stride": stride,
        "windows": windows,
        "rows": rows,
        "reverse": int(reverse),
        "sequence": _SEQUENCES.index(sequence),
        "reduce": _REDUCTIONS.index(reduce),
    }


def _windowed_shape(x: Tensor, weight_hh: Tensor, kernel_size: int, stride: int, reduce: str) -> tuple[int, ...]:
    windows = geometry.num_windows(x.size(1), kernel_size, stride)
    return (x.size(0), windows, *((kernel_size,) if reduce == "none" else ()), weight_hh.size(1))


def _last_gates_shape(x: Tensor, weight_hh: Tensor, kernel_size: int, stride: int, sequence: str) -> tuple[int, ...]:
    """Of every window's i, f, g and, of hidden states, o of its last step: room for them on any instruction set."""
    windows = x.size(0) * geometry.num_windows(x.size(1), kernel_size, stride)
    return windows, 3 if sequence == "cell" else 4, -(-weight_hh.size(1) // _MOST_LANES) * _MOST_LANES


@torch.library.custom_op("convrnn::native_windowed_lstm_kept", mutates_args=(), device_types="cpu")
def native_windowed_lstm_kept(
    x: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None,
    weight_peephole: Tensor | None,
    initial_hidden: Tensor | None,
    initial_cell: Tensor | None,
    lengths: Tensor | None,
    kernel_size: int,
    stride: int,
    sequence: str,
    reduce: str,
    reverse: bool,
    save: bool,
) -> tuple[Tensor, Tensor]:
    """:func:`convrnn.ops.windowed_lstm` by the kernel, and what its backward pass needs: empty unless ``save``."""
    sizes, tensors = _inputs(x, weight_ih, weight_hh, bias, weight_peephole, initial_hidden, initial_cell, lengths)
    sizes |= _windowed_sizes(x, kernel_size, stride, sequence, reduce, lengths, reverse)
    if weight_ih.dim() == 3:
        _check_shape("weight_ih", weight_ih, (kernel_size, *weight_ih.shape[1:]))
    shape = _windowed_shape(x, weight_hh, kernel_size, stride, reduce)
    y = x.new_empty(shape) if lengths is None else x.new_zeros(shape)
    gates = x.new_empty(_last_gates_shape(x, weight_hh, kernel_size, stride, sequence) if save else (0,))
    if sizes["rows"]:
        _run(_FORWARD, sizes, tensors | {"y": y, "gates": gates if save else None})
    return y, gates


@native_windowed_lstm_kept.register_fake
def _(x: Tensor, _weight_ih: Tensor, weight_hh: Tensor, *options: Any) -> tuple[Tensor, Tensor]:  # noqa: ANN401
    kernel_size, stride, sequence, reduce, _reverse, save = options[-6:]
    y = x.new_empty(_windowed_shape(x, weight_hh, kernel_size, stride, reduce))
    return y, x.new_empty(_last_gates_shape(x, weight_hh, kernel_size, stride, sequence) if save else (0,))


def native_windowed_lstm(
    x: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None,
    weight_peephole: Tensor | None,
    initial_hidden: Tensor | None,
    initial_cell: Tensor | None,
    lengths: Tensor | None,
    kernel_size: int,
    stride: int,
    sequence: str,
    reduce: str,
    reverse: bool,
) -> Tensor:
    """:func:`convrnn.ops.windowed_lstm` by the kernel, which keeps what a backward pass needs where one may come."""
    tensors = (x, weight_ih, weight_hh, bias, weight_peephole, initial_hidden, initial_cell)
    save = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
    operation = torch.ops.convrnn.native_windowed_lstm_kept
    y: Tensor = operation(*tensors, lengths, kernel_size, stride, sequence, reduce, reverse, save)[0]
    return y


# Not an operation with rules of its own: whether to save is to be seen before autograd takes over.
torch.library.define("convrnn::native_windowed_lstm", torch.library.infer_schema(native_windowed_lstm, mutates_args=()))
torch.library.impl("convrnn::native_windowed_lstm", "CompositeImplicitAutograd")(native_windowed_lstm)


@torch.library.custom_op("convrnn::native_windowed_lstm_backward", mutates_args=(), device_types="cpu")
def native_windowed_lstm_backward(
    grad_y: Tensor,
    gates: Tensor,
    x: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None,
    weight_peephole: Tensor | None,
    initial_hidden: Tensor | None,
    initial_cell: Tensor | None,
    lengths: Tensor | None,
    kernel_size: int,
    stride: int,
    sequence: str,
    reduce: str,
    reverse: bool,
    with_x: bool,
) -> list[Tensor]:
    """Gradients of x (empty unless ``with_x``) and of those of the parameters that are there, in their order."""
    sizes, tensors = _inputs(x, weight_ih, weight_hh, bias, weight_peephole, initial_hidden, initial_cell, lengths)
    sizes |= _windowed_sizes(x, kernel_size, stride, sequence, reduce, lengths, reverse)
    if weight_ih.dim() == 3:
        _check_shape("weight_ih", weight_ih, (kernel_size, *weight_ih.shape[1:]))
    _check_shape("grad_y", grad_y, _windowed_shape(x, weight_hh, kernel_size, stride, reduce))
    _check_shape("gates", gates, _last_gates_shape(x, weight_hh, kernel_size, stride, sequence))
    return _run_backward(sizes, tensors | _contiguous({"grad_y": grad_y, "gates": gates}), with_x)


@native_windowed_lstm_backward.register_fake
def _(_grad_y: Tensor, _gates: Tensor, *inputs: Any) -> list[Tensor]:  # noqa: ANN401
    return _fake_gradients(inputs[:7], with_x=inputs[-1])


def _windowed_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:  # noqa: ANN401
    *tensors, kernel_size, stride, sequence, reduce, reverse, save = inputs
    ctx.options = (kernel_size, stride, sequence, reduce, reverse)
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)
    if save:
        ctx.save_for_backward(output[1], *tensors)


def _windowed_backward(ctx: Any, grad_y: Tensor | None, _: None) -> tuple[Any, ...]:  # noqa: ANN401
    if not ctx.saved_tensors:
        raise RuntimeError("native_windowed_lstm_kept was called with save=False and cannot be differentiated")
    if grad_y is None:
        return (None,) * 14
    gates, *tensors = ctx.saved_tensors
    with_x = ctx.needs_input_grad[0]
    gradients = native_windowed_lstm_backward(grad_y, gates, *tensors, *ctx.options, with_x)
    return (*_hand_out(gradients, tensors[:7], with_x), None, *(None for _ in ctx.options), None)


native_windowed_lstm_kept.register_autograd(_windowed_backward, setup_context=_windowed_setup)


# Over whole sequences.


def _gates_shape(x: Tensor, weight_hh: Tensor, save: bool) -> tuple[int, ...]:
    """Of i, f, g, o and tanh(c) of every frame, where they are kept."""
    return (x.size(0), x.size(1), _KEPT_GATES, weight_hh.size(1)) if save else (0,)


@torch.library.custom_op("convrnn::native_lstm", mutates_args=(), device_types="cpu")
def native_lstm(
    x: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None,
    weight_peephole: Tensor | None,
    initial_hidden: Tensor | None,
    initial_cell: Tensor | None,
    lengths: Tensor | None,
    reverse: bool,
    save: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """:func:`convrnn.ops.lstm` by the kernel, and what its backward pass needs beside: empty unless ``save``."""
    sizes, tensors = _inputs(x, weight_ih, weight_hh, bias, weight_peephole, initial_hidden, initial_cell, lengths)
    shape = (x.size(0), x.size(1), weight_hh.size(1))
    shapes = (shape, shape, _gates_shape(x, weight_hh, save))
    hidden, cell, gates = (x.new_empty(s) if lengths is None else x.new_zeros(s) for s in shapes)
    if x.size(0):
        sizes |= {"rows": x.size(0), "reverse": int(reverse)}
        states = {"states_hidden": hidden, "states_cell": cell, "gates": gates if save else None}
        _run(_FORWARD, sizes, tensors | states)
    return hidden, cell, gates


@native_lstm.register_fake
def _(x: Tensor, _weight_ih: Tensor, weight_hh: Tensor, *options: Any) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ANN401
    states = x.new_empty(x.size(0), x.size(1), weight_hh.size(1))
    return states, torch.empty_like(states), x.new_empty(_gates_shape(x, weight_hh, options[-1]))


@torch.library.custom_op("convrnn::native_lstm_backward", mutates_args=(), device_types="cpu")
def native_lstm_backward(
    grad_hidden: Tensor | None,
    grad_cell: Tensor | None,
    hidden: Tensor,
    cell: Tensor,
    gates: Tensor,
    x: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None,
    weight_peephole: Tensor | None,
    initial_hidden: Tensor | None,
    initial_cell: Tensor | None,
    lengths: Tensor | None,
    reverse: bool,
    with_x: bool,
) -> list[Tensor]:
    """Gradients of x (empty unless ``with_x``) and of those of the parameters that are there, in their order."""
    sizes, tensors = _inputs(x, weight_ih, weight_hh, bias, weight_peephole, initial_hidden, initial_cell, lengths)
    sizes |= {"rows": x.size(0), "reverse": int(reverse)}
    states: dict[str, Tensor | None] = {"states_hidden": hidden, "states_cell": cell, "gates": gates}
    states |= {"grad_hidden": grad_hidden, "grad_cell": grad_cell}
    for name, tensor in states.items():
        shape = _gates_shape(x, weight_hh, save=True) if name == "gates" else (*x.shape[:2], weight_hh.size(1))
        if tensor is not None:
            _check_shape(name, tensor, shape)
    return _run_backward(sizes, tensors | _contiguous(states), with_x)


@native_lstm_backward.register_fake
def _(grad_hidden: Tensor | None, grad_cell: Tensor | None, *inputs: Any) -> list[Tensor]:  # noqa: ANN401, ARG001
    return _fake_gradients(inputs[3:10], with_x=inputs[-1])


def _lstm_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:  # noqa: ANN401
    *tensors, ctx.reverse, save = inputs
    ctx.mark_non_differentiable(output[2])
    ctx.set_materialize_grads(False)
    if save:
        ctx.save_for_backward(*output, *tensors)


def _lstm_backward(ctx: Any, grad_hidden: Tensor | None, grad_cell: Tensor | None, _: None) -> tuple[Any, ...]:  # noqa: ANN401
    if not ctx.saved_tensors:
        raise RuntimeError("native_lstm was called with save=False and cannot be differentiated")
    *states, x, weight_ih, weight_hh, bias, weight_peephole, initial_hidden, initial_cell, lengths = ctx.saved_tensors
    tensors = (x, weight_ih, weight_hh, bias, weight_peephole, initial_hidden, initial_cell)
    if grad_hidden is None and grad_cell is None:
        return (None,) * 10
    with_x = ctx.needs_input_grad[0]
    gradients = native_lstm_backward(grad_hidden, grad_cell, *states, *tensors, lengths, ctx.reverse, with_x)
    return (*_hand_out(gradients, tensors, with_x), None, None, None)


native_lstm.register_autograd(_lstm_backward, setup_context=_lstm_setup)


def _no_second_derivative(ctx: Any, *_: Any) -> None:  # noqa: ANN401, ARG001
    raise RuntimeError(
        "the native LSTM kernel can be differentiated once; for second derivatives run the forward pass within "
        'convrnn.ops.use_backend("reference")'
    )


for _operation in (native_windowed_lstm_backward, native_lstm_backward):
    _operation.register_autograd(_no_second_derivative)
