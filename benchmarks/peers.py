"""The implementations of the windowed LSTM that are compared, each in its best configuration."""

import os
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.problem import Forward, Operands, Problem, windowed_lstm
from convrnn import ops


class Unavailable(Exception):
    """A peer cannot run here; the message says what is missing."""


@dataclass(frozen=True)
class Peer:
    """One way to compute a windowed LSTM.

    Attributes:
        name: Its name in the tables.
        prepare: Makes the forward pass, which returns ``[batch, windows, hidden]``, for the current number of threads,
            or raises :class:`Unavailable`.
        peepholes: Whether it has peepholes; if not, it is compared with ours without peepholes.
        trains: Whether it has gradients.
    """

    name: str
    prepare: Callable[[Problem, Operands], Forward]
    peepholes: bool = True
    trains: bool = True

    @property
    def baseline(self) -> str:
        """Name of our peer that computes the same."""
        return (NATIVE if self.peepholes else NATIVE_PLAIN).name


def _on(backend: str) -> Callable[[Problem, Operands], Forward]:
    def prepare(problem: Problem, operands: Operands) -> Forward:
        def forward() -> Tensor:
            with ops.use_backend(backend):
                return windowed_lstm(problem, *operands.tensors())

        return forward

    return prepare


def _compiled(problem: Problem, operands: Operands) -> Forward:
    compilers = (os.environ.get("CXX", "g++"), "clang++")
    if not any(map(shutil.which, compilers)):
        raise Unavailable("there is no C++ compiler")
    # Functions compiled for other sizes or threads would count towards the recompilation limit.
    torch.compiler.reset()
    compiled = torch.compile(windowed_lstm, fullgraph=True, dynamic=False)

    def forward() -> Tensor:
        with ops.use_backend("reference"):
            y: Tensor = compiled(problem, *operands.tensors())
            return y

    return forward


def _unfold(x: Tensor, problem: Problem) -> Tensor:
    """The windows as separate sequences: ``[kernel_size, batch * windows, features]``, contiguous."""
    windows = x.unfold(1, problem.kernel_size, problem.stride)
    return windows.permute(3, 0, 1, 2).reshape(problem.kernel_size, problem.windows, problem.features)


def _torch_lstm(problem: Problem, operands: Operands) -> Forward:
    # Time-major is its native layout; batch_first=True is not faster.
    module = nn.LSTM(problem.features, problem.hidden)
    module.weight_ih_l0, module.weight_hh_l0 = operands.weight_ih, operands.weight_hh
    module.bias_ih_l0 = operands.bias
    # Its second bias is redundant; computing the gradient would be wasted work.
    module.bias_hh_l0 = nn.Parameter(torch.zeros_like(operands.bias), requires_grad=False)

    def forward() -> Tensor:
        cell: Tensor = module(_unfold(operands.x, problem))[1][1]
        return cell.view(problem.batch, -1, problem.hidden)

    return forward


def _torch_lstm_without_onednn(problem: Problem, operands: Operands) -> Forward:
    # Without oneDNN training is faster for some sizes. Switching it off warns about a GPU that is not there.
    warnings.filterwarnings("ignore", message="TF32 acceleration on top of oneDNN")
    with_onednn = _torch_lstm(problem, operands)

    def forward() -> Tensor:
        with torch.backends.mkldnn.flags(enabled=False):
            return with_onednn()

    return forward


def _shared_projection(problem: Problem, operands: Operands) -> Forward:
    """Steps written by hand on a projection that the windows share: PyTorch has no LSTM that accepts one.

    All easy savings are made: the first step has no recurrent product and no f, the last computes no h, i and f share a
    call, and the sum is in place.
    """
    hidden = problem.hidden

    def forward() -> Tensor:
        wx = F.linear(operands.x, operands.weight_ih, operands.bias)
        first, *later = wx.unfold(1, problem.kernel_size, problem.stride).unbind(-1)
        i, _, g, o = first.chunk(4, dim=-1)
        c = i.sigmoid() * g.tanh()
        for wx_t in later:
            h = o.sigmoid() * c.tanh()
            i_f, g, o = F.linear(h, operands.weight_hh).add_(wx_t).split([2 * hidden, hidden, hidden], dim=-1)
            i, f = i_f.sigmoid().chunk(2, dim=-1)
            c = torch.addcmul(i * g.tanh(), f, c)
        return c

    return forward


def _onnx_model(problem: Problem, operands: Operands) -> bytes:
    """A model of one LSTM operator: X ``[frames, windows, features]`` to the final cell state Y_c."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    assert operands.weight_peephole is not None

    def reordered(stacked: Tensor) -> Tensor:
        """Gates i, f, g, o to i, o, f, g, with the axis of directions in front."""
        return stacked.detach().view(4, problem.hidden, -1)[[0, 3, 1, 2]].reshape(1, *stacked.shape)

    bias = reordered(operands.bias)
    weights = {
        "W": reordered(operands.weight_ih),
        "R": reordered(operands.weight_hh),
        "B": torch.cat([bias, torch.zeros_like(bias)], dim=1),
        "P": operands.weight_peephole.detach()[[0, 2, 1]].view(1, -1),  # i, f, o to i, o, f
    }
    shape = (problem.kernel_size, problem.windows, problem.features)
    graph = helper.make_graph(
        [helper.make_node("LSTM", ["X", "W", "R", "B", "", "", "", "P"], ["", "", "Y_c"], hidden_size=problem.hidden)],
        "windowed_lstm",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("Y_c", TensorProto.FLOAT, (1, problem.windows, problem.hidden))],
        [numpy_helper.from_array(tensor.numpy(), name) for name, tensor in weights.items()],
    )
    # Not the newest versions, so that an older runtime can read it.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    onnx.checker.check_model(model)
    serialised: bytes = model.SerializeToString()
    return serialised


def _onnx_runtime(problem: Problem, operands: Operands) -> Forward:
    try:
        import onnxruntime

        model = _onnx_model(problem, operands)
    except ImportError as error:
        raise Unavailable(f"{error.name} is not installed (pip install onnx onnxruntime)") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    # Its threads may spin during a run, but not into the turn of the next peer.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def forward() -> Tensor:
        windows = _unfold(operands.x, problem)
        y = torch.empty(problem.batch, problem.windows // problem.batch, problem.hidden)
        # Bound to PyTorch's memory, so that nothing is copied.
        binding = session.io_binding()
        binding.bind_input("X", "cpu", 0, np.float32, windows.shape, windows.data_ptr())
        binding.bind_output("Y_c", "cpu", 0, np.float32, (1, problem.windows, problem.hidden), y.data_ptr())
        session.run_with_iobinding(binding)
        return y

    return forward


NATIVE = Peer("convrnn native", _on("native"))
NATIVE_PLAIN = Peer("convrnn native, no peepholes", _on("native"), peepholes=False)
REFERENCE = Peer("convrnn reference, eager", _on("reference"))
COMPILED = Peer("convrnn reference, torch.compile", _compiled)
PEERS = (
    NATIVE,
    REFERENCE,
    COMPILED,
    Peer("ONNX Runtime LSTM on unfolded windows", _onnx_runtime, trains=False),
    NATIVE_PLAIN,
    Peer("nn.LSTM on unfolded windows, no peepholes", _torch_lstm, peepholes=False),
    Peer("nn.LSTM likewise, oneDNN off, no peepholes", _torch_lstm_without_onednn, peepholes=False),
    Peer("projection shared, steps by hand, no peepholes", _shared_projection, peepholes=False),
)
