"""Operations that are called without the public functions refuse wrong operands themselves."""

from native_kernels import run_script

# Runs in a process of its own, since reading memory that does not exist may end it.
# Calls every operation with valid arguments, then makes each operand wrong in every way.
MATRIX = """
import json
import sys
import torch
from convrnn import ops
from operations import draw

torch.set_num_threads(1)
BATCH, FRAMES, FEATURES, HIDDEN, KERNEL_SIZE = 3, 9, 5, 21, 3
lengths = torch.tensor([9, 4, 0])
sizes = {"batch": BATCH, "frames": FRAMES, "features": FEATURES, "hidden": HIDDEN, "dtype": torch.float32}
states = torch.ones(BATCH, FRAMES, HIDDEN)
window = {"kernel_size": KERNEL_SIZE, "stride": 2}
of_windows = {**window, "sequence": "hidden", "reduce": "mean", "reverse": False}
y = torch.ones(BATCH, 4, HIDDEN)
own = {"rnn": {"nonlinearity": "relu"}, "gru": {"reset_after": True}, "lstm": {}}
of_cell = {
    cell: {name: tensor / 4 for name, tensor in draw(cell, **sizes).items()} | {"lengths": lengths} | options
    for cell, options in own.items()
}
given = of_cell["lstm"]
OPERATIONS = {
    "windowed_rnn": {**of_cell["rnn"], **window, "reduce": "max"},
    "windowed_gru": {**of_cell["gru"], **window, "reduce": "none"},
    "windowed_lstm": {**given, **of_windows},
}
for cell, operands in of_cell.items():
    names = ("hidden", "cell") if cell == "lstm" else ("hidden",)
    of_states = {name: states for name in names}
    upstream = {f"grad_{name}": states for name in names}
    vectors = {"rnn": 1, "gru": 4, "lstm": 4}[cell]
    gates = torch.ones(BATCH, FRAMES, {"rnn": 0, "gru": 4, "lstm": 5}[cell], HIDDEN)
    OPERATIONS |= {
        cell: {**operands, "reverse": True},
        f"{cell}_backward": {**upstream, **operands, "reverse": True},
        f"native_windowed_{cell}": {**operands, **of_windows},
        f"native_windowed_{cell}_kept": {**operands, **of_windows, "saved_steps": 1},
        f"native_windowed_{cell}_backward": {
            **{"grad_y": y, "saved": torch.ones(12, vectors, 32), **operands, **of_windows},
            **{"saved_steps": 1, "with_x": True},
        },
        f"native_{cell}": {**operands, "reverse": True, "save": True},
        f"native_{cell}_backward": {
            **upstream, **of_states, "gates": gates, **operands, "reverse": True, "with_x": True
        },
    }
backward = {f"{name}_reverse": tensor for name, tensor in given.items() if name not in ("x", "lengths")}
both = {**given, **of_windows, "reverse": False, **backward}
OPERATIONS |= {
    "triton_windowed_bilstm": {**both, "dtype": torch.float32},
    "triton_windowed_bilstm_backward": {"grad_y": torch.stack([y, y]), **both, "with_x": True},
    "triton_windowed_lstm": {**given, **of_windows, "dtype": torch.float32},
    "triton_windowed_lstm_backward": {"grad_y": y, **given, **of_windows, "with_x": True},
    "triton_lstm": {**given, "reverse": True},
    "triton_lstm_backward": {
        **{"grad_hidden": states, "grad_cell": states, "hidden": states, "cell": states},
        **{**given, "reverse": True, "with_x": True},
    },
}
OPTIONS = {
    "kernel_size": (0, -1, FRAMES + 1, 2**62),
    "stride": (0, -1, -(2**63)),
    "sequence": ("", "cells"),
    "reduce": ("", "sum"),
    "nonlinearity": ("elu",),
    "saved_steps": (-1, KERNEL_SIZE + 1),
}
# Triton takes the other parameters, and gradients, in any floating dtype.
ANY_FLOAT = {*("bias", "weight_peephole", "initial_hidden", "initial_cell"), *("grad_y", "grad_hidden", "grad_cell")}


def wrong(tensor):
    for dtype in {torch.float64, torch.float16, torch.int32, torch.int64, torch.float32} - {tensor.dtype}:
        yield str(dtype), tensor.to(dtype)
    yield "on meta", tensor.to("meta")
    yield "a number", tensor.flatten()[0]
    yield "one axis more", tensor.unsqueeze(0)
    yield "flat", tensor.flatten() if tensor.dim() > 1 else tensor.unsqueeze(1)
    for axis in range(tensor.dim()):
        yield f"nothing of axis {axis}", tensor.narrow(axis, 0, 0)
        yield f"short in axis {axis}", tensor.narrow(axis, 0, tensor.size(axis) - 1)
        yield f"long in axis {axis}", torch.cat([tensor, tensor.narrow(axis, 0, 1)], axis)
    freed = tensor.clone()
    freed.untyped_storage().resize_(0)
    yield "freed", freed
    freed = tensor.clone().unsqueeze(-1).expand(*tensor.shape, 2)[..., 0]
    freed.untyped_storage().resize_(0)
    yield "freed view", freed


def right(tensor):
    yield "scattered", torch.stack([tensor, tensor], -1)[..., 0]
    yield "within another", torch.cat([tensor, tensor])[tensor.size(0) :]


def run(name, **arguments):
    result = getattr(torch.ops.convrnn, name)(**arguments)
    # What is kept for the backward pass, the last result, is undefined for windows beyond a sequence's end.
    kept = name.endswith("kept") or name in ("native_rnn", "native_gru", "native_lstm")
    parts = [result] if isinstance(result, torch.Tensor) else result[:-1] if kept else result
    return torch.cat([part.flatten() for part in parts])


def differ(one, other):
    return not torch.allclose(one, other, rtol=1e-5, atol=1e-5)


calls, faults = 0, []


def refuse(name, arguments, what):
    global calls
    calls += 1
    print(f"{name}: {what}", file=sys.stderr)
    try:
        getattr(torch.ops.convrnn, name)(**arguments)
        faults.append(f"{name}: {what} was taken")
    except ValueError as error:
        if len(str(error)) > 200 or "\\n" in str(error):
            faults.append(f"{name}: {what}: {error}")
    except Exception as error:
        faults.append(f"{name}: {what}: {type(error).__name__}: {error}")


for name, arguments in OPERATIONS.items():
    if name.startswith("native") and not ops.native.available():
        continue
    runs = not name.startswith("triton")
    # These consist of PyTorch's own operations, which check that tensors have memory.
    own = set() if name.startswith(("native", "triton")) else {"freed", "freed view"}
    tensors = {key: value for key, value in arguments.items() if isinstance(value, torch.Tensor) and value.numel()}
    expected = run(name, **arguments) if runs else None
    for key, tensor in tensors.items():
        for what, bad in wrong(tensor):
            # Another number of frames is an x like any other.
            if what in own or (key == "x" and what in {"short in axis 1", "long in axis 1"}):
                continue
            if name.startswith("triton") and key in ANY_FLOAT and "float" in what:
                continue
            refuse(name, arguments | {key: bad}, f"{key} {what}")
        for what, good in right(tensor) if runs else ():
            calls += 1
            if differ(run(name, **arguments | {key: good}), expected):
                faults.append(f"{name}: {key} {what} changes the result")
    for key, values in OPTIONS.items():
        for value in values if key in arguments else ():
            refuse(name, arguments | {key: value}, f"{key} {value!r}")
    if runs:
        calls += 1
        outside = arguments | {"lengths": torch.tensor([2**62, 4, -5])}
        if differ(run(name, **outside), expected):
            faults.append(f"{name}: lengths out of range are not those within")
print(json.dumps({"calls": calls, "faults": faults}))
"""


def test_no_operation_accepts_wrong_operands():
    found = run_script(MATRIX)
    assert found["faults"] == []
    assert found["calls"] > 1500
