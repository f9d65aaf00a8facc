"""The implementations of a cell over windows that are compared, each in its best configuration."""

import os
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.problem import Forward, Operands, Problem, windowed
from convrnn import ops


class Unavailable(Exception):
    """A peer cannot run here; the message says what is missing."""


OURS = "convrnn native"
"""Name of our kernel in the tables."""

AS_TORCH = {"lstm": ", no peepholes", "gru": ", reset after", "rnn": ""}
"""What is added to a peer's name if it computes the cell as PyTorch has it."""


@dataclass(frozen=True)
class Peer:
    """One way to compute a cell over windows.

    Attributes:
        name: Its name in the tables.
        prepare: Makes the forward pass, which returns ``[batch, windows, hidden]``, for the current number of threads,
            or raises :class:`Unavailable`.
        as_torch: Whether it computes the cell as PyTorch has it (``Problem.as_torch``).
        trains: Whether it has gradients.
        baseline: Name of our peer that computes the same.
    """

    name: str
    prepare: Callable[[Problem, Operands], Forward]
    as_torch: bool = False
    trains: bool = True
    baseline: str = OURS


def _on(backend: str) -> Callable[[Problem, Operands], Forward]:
    def prepare(problem: Problem, operands: Operands) -> Forward:
        def forward() -> Tensor:
            with ops.use_backend(backend):
                return windowed(problem, **operands)

        return forward

    return prepare


def _compiled(problem: Problem, operands: Operands) -> Forward:
    compilers = (os.environ.get("CXX", "g++"), "clang++")
    if not any(map(shutil.which, compilers)):
        raise Unavailable("there is no C++ compiler")
    # Functions compiled for other sizes or threads would count towards the recompilation limit.
    torch.compiler.reset()
    compiled = torch.compile(windowed, fullgraph=True, dynamic=False)

    def forward() -> Tensor:
        with ops.use_backend("reference"):
            y: Tensor = compiled(problem, **operands)
            return y

    return forward


def _unfold(x: Tensor, problem: Problem) -> Tensor:
    """The windows as separate sequences: ``[kernel_size, batch * windows, features]``, contiguous."""
    windows = x.unfold(1, problem.kernel_size, problem.stride)
    windows = windows.permute(3, 0, 1, 2).reshape(problem.kernel_size, problem.windows, problem.features)
    return windows.contiguous()  # of a single sequence, reshape makes no copy


def _torch_module(problem: Problem, operands: Operands) -> Forward:
    # Time-major is its native layout; batch_first=True is not faster.
    module = (nn.LSTM if problem.cell == "lstm" else nn.RNN)(problem.features, problem.hidden)
    bias = operands["bias"]
    # Its second bias is redundant; computing the gradient would be wasted work.
    weights = (operands["weight_ih"], operands["weight_hh"], bias, nn.Parameter(torch.zeros_like(bias), False))
    for (name, _), weight in zip(list(module.named_parameters()), weights, strict=True):
        setattr(module, name, weight)

    def forward() -> Tensor:
        final = module(_unfold(operands["x"], problem))[1]
        state: Tensor = final[1] if problem.cell == "lstm" else final
        return state.view(problem.batch, -1, problem.hidden)

    return forward


def _torch_lstm_without_onednn(problem: Problem, operands: Operands) -> Forward:
    # Without oneDNN training is faster for some sizes. Switching it off warns about a GPU that is not there.
    warnings.filterwarnings("ignore", message="TF32 acceleration on top of oneDNN")
    with_onednn = _torch_module(problem, operands)

    def forward() -> Tensor:
        with torch.backends.mkldnn.flags(enabled=False):
            return with_onednn()

    return forward


def _torch_gru(problem: Problem, operands: Operands) -> Forward:
    """The function that nn.GRU calls: of its second bias only the last third is ours, which a module cannot express."""
    initial = torch.zeros(1, problem.windows, problem.hidden)
    redundant = torch.zeros(2 * problem.hidden)

    def forward() -> Tensor:
        second_bias = torch.cat([redundant, operands["bias_hn"]])
        weights = [operands["weight_ih"], operands["weight_hh"], operands["bias"], second_bias]
        training = torch.is_grad_enabled()
        final = torch.gru(_unfold(operands["x"], problem), initial, weights, True, 1, 0.0, training, False, False)[1]
        return final.view(problem.batch, -1, problem.hidden)

    return forward


def _shared_projection(problem: Problem, operands: Operands) -> Forward:
    """Steps written by hand on a projection that the windows share: PyTorch has no LSTM that accepts one.

    All easy savings are made: the first step has no recurrent product and no f, the last computes no h, i and f share a
    call, and the sum is in place.
    """
    hidden = problem.hidden

    def forward() -> Tensor:
        wx = F.linear(operands["x"], operands["weight_ih"], operands["bias"])
        first, *later = wx.unfold(1, problem.kernel_size, problem.stride).unbind(-1)
        i, _, g, o = first.chunk(4, dim=-1)
        c = i.sigmoid() * g.tanh()
        for wx_t in later:
            h = o.sigmoid() * c.tanh()
            i_f, g, o = F.linear(h, operands["weight_hh"]).add_(wx_t).split([2 * hidden, hidden, hidden], dim=-1)
            i, f = i_f.sigmoid().chunk(2, dim=-1)
            c = torch.addcmul(i * g.tanh(), f, c)
        return c

    return forward


_ONNX_GATES = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2), "rnn": (0,)}
"""Positions of our gates in ONNX's order: i, o, f, g of an LSTM and z, r, n of a GRU."""


def _onnx_model(problem: Problem, operands: Operands) -> bytes:
    """A model of one recurrent operator: X ``[frames, windows, features]`` to the final state Y."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    order = _ONNX_GATES[problem.cell]

    def reordered(stacked: Tensor) -> Tensor:
        """Gates in ONNX's order, with the axis of directions in front."""
        gates = stacked.detach().view(len(order), problem.hidden, -1)
        return gates[list(order)].reshape(1, *stacked.shape)

    bias = reordered(operands["bias"])
    weights = {
        "W": reordered(operands["weight_ih"]),
        "R": reordered(operands["weight_hh"]),
        "B": torch.cat([bias, torch.zeros_like(bias)], dim=1),
    }
    inputs, outputs = ["X", "W", "R", "B"], ["", "Y"]
    options: dict[str, Any] = {"hidden_size": problem.hidden}
    if problem.cell == "lstm":
        weights["P"] = operands["weight_peephole"].detach()[[0, 2, 1]].view(1, -1)  # i, f, o to i, o, f
        inputs, outputs = [*inputs, "", "", "", "P"], ["", "", "Y"]
    if problem.cell == "gru":
        options["linear_before_reset"] = 0  # the reset gate acts on the state
    shape = (problem.kernel_size, problem.windows, problem.features)
    graph = helper.make_graph(
        [helper.make_node(problem.cell.upper(), inputs, outputs, **options)],
        "windowed",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, (1, problem.windows, problem.hidden))],
        [numpy_helper.from_array(tensor.numpy(), name) for name, tensor in weights.items()],
    )
    # Not the newest versions, so that an older runtime can read it.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    onnx.checker.check_model(model)
    serialised: bytes = model.SerializeToString()
    return serialised


def onnx_session(model: bytes) -> Any:  # noqa: ANN401 - of onnxruntime, which has no types
    """A session of ONNX Runtime with PyTorch's current number of threads.

    Raises:
        Unavailable: ONNX Runtime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise _missing(error) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    # Its threads may spin during a run, but not into the turn of the next peer.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _missing(error: ImportError) -> Unavailable:
    return Unavailable(f"{error.name} is not installed (pip install onnx onnxruntime)")


def onnx_runtime(problem: Problem, operands: Operands) -> Forward:
    """ONNX Runtime's own operator on unfolded windows.

    Raises:
        Unavailable: a package is not installed.
    """
    try:
        session = onnx_session(_onnx_model(problem, operands))
    except ImportError as error:
        raise _missing(error) from None

    def forward() -> Tensor:
        windows = _unfold(operands["x"], problem)
        y = torch.empty(problem.batch, problem.windows // problem.batch, problem.hidden)
        # Bound to PyTorch's memory, so that nothing is copied.
        binding = session.io_binding()
        binding.bind_input("X", "cpu", 0, np.float32, windows.shape, windows.data_ptr())
        binding.bind_output("Y", "cpu", 0, np.float32, (1, problem.windows, problem.hidden), y.data_ptr())
        session.run_with_iobinding(binding)
        return y

    return forward


NATIVE = Peer(OURS, _on("native"))
REFERENCE = Peer("convrnn reference, eager", _on("reference"))
COMPILED = Peer("convrnn reference, torch.compile", _compiled)


def _peers(cell: str, *of_torch: Peer) -> tuple[Peer, ...]:
    """All peers of a cell, given those that compute it as PyTorch has it."""
    onnx = Peer(f"ONNX Runtime {cell.upper()} on unfolded windows", onnx_runtime, trains=False)
    common = (NATIVE, REFERENCE, COMPILED, onnx)
    suffix = AS_TORCH[cell]
    if not suffix:
        return (*common, *of_torch)
    ours = OURS + suffix
    named = (replace(peer, name=peer.name + suffix, as_torch=True, baseline=ours) for peer in of_torch)
    return (*common, Peer(ours, _on("native"), as_torch=True, baseline=ours), *named)


PEERS = {
    "lstm": _peers(
        "lstm",
        Peer("nn.LSTM on unfolded windows", _torch_module),
        Peer("nn.LSTM likewise, oneDNN off", _torch_lstm_without_onednn),
        Peer("projection shared, steps by hand", _shared_projection),
    ),
    "gru": _peers("gru", Peer("nn.GRU on unfolded windows", _torch_gru)),
    "rnn": _peers("rnn", Peer("nn.RNN on unfolded windows", _torch_module)),
}
"""The peers of each cell."""
