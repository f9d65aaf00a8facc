"""The LSTM over whole sequences on the GPU, in one direction or both, as registered PyTorch operations.

If a batch needs no more programs than there are multiprocessors, all steps take a single launch; otherwise every step
is a separate launch. Both directions take the same launches.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from convrnn.ops.operands import LSTMGradients, LSTMOperands, refuse_second_derivative
from convrnn.ops.registration import LSTM, Operation, without_autocast
from convrnn.ops.triton import directions, launcher, tiles
from convrnn.ops.triton.operands import check_other, first_product, new_result, prepare
from convrnn.ops.triton.tiles import Tile


@dataclass(frozen=True)
class _Stack:
    """The operands of one direction or of both, with a first axis of directions in all but ``x`` and ``lengths``.

    Attributes:
        operands: The prepared operands of each direction.
        reverse: Whether the first direction goes backwards.
        tile: The work of one program.
    """

    operands: tuple[LSTMOperands, ...]
    reverse: bool
    tile: Tile

    @classmethod
    def of(cls, *operands: LSTMOperands, reverse: bool) -> "_Stack":
        prepared = tuple(prepare(each) for each in operands)
        x, hidden = prepared[0].x, prepared[0].hidden
        return cls(prepared, reverse, tiles.choose_step(x.size(0), hidden, x.dtype, x.device, len(prepared)))

    @property
    def first(self) -> LSTMOperands:
        """The operands of the first direction; ``x`` and ``lengths`` are the same in both."""
        return self.operands[0]

    def __getitem__(self, name: str) -> Tensor | None:
        """A parameter of all directions."""
        return _stacked([getattr(each, name) for each in self.operands])

    @property
    def states_shape(self) -> tuple[int, ...]:
        """Shape of the states, ``[directions, batch, frames, H]``."""
        return len(self.operands), *self.first.states_shape

    @property
    def results_shape(self) -> tuple[int, ...]:
        """Shape of an operation's states, without the first axis if there is one direction."""
        return self.states_shape if len(self.operands) > 1 else self.states_shape[1:]

    @property
    def reversed(self) -> list[bool]:
        """Whether each direction goes backwards."""
        return [self.reverse != (number == 1) for number in range(len(self.operands))]

    @property
    def programs(self) -> tuple[int, int, int]:
        """Number of programs for the sequences, the units and the directions."""
        x, tile = self.first.x, self.tile
        return -(-x.size(0) // tile.rows), -(-self.first.hidden // tile.units), len(self.operands)

    def arguments(self) -> dict[str, Any]:
        """The arguments that both kernels take."""
        x, tile = self.first.x, self.tile
        return {
            "weight_hh": self["weight_hh"],
            "weight_peephole": self["weight_peephole"],
            "initial_cell": self["initial_cell"],
            "lengths": self.first.lengths,
            "batch": x.size(0),
            "frames": x.size(1),
            "reverse": int(self.reverse),
            "H": self.first.hidden,
            "PRECISION": tiles.precision(x.dtype),
            "ROWS": tile.rows,
            "UNITS": tile.units,
            "INNER": tile.inner,
        }

    def spans(self) -> list[dict[str, Any]]:
        """The steps of each launch: all steps in one launch if all programs can run at the same time."""
        x, (rows, units, both) = self.first.x, self.programs
        frames, arrived = x.size(1), x.new_zeros(both, rows, dtype=torch.int32)
        length = frames if tiles.run_together(rows * units * both, x.device) else 1
        return [
            {"begin": begin, "end": min(begin + length, frames), "arrived": arrived}
            for begin in range(0, frames, length)
        ]

    def project(self, x: Tensor) -> Tensor:
        """The projections of the frames with the bias, ``[directions, batch, frames, 4H]``."""
        bias = self["bias"]
        if len(self.operands) == 1:
            return F.linear(x, self.first.weight_ih, None if bias is None else bias[0].to(x.dtype)).unsqueeze(0)
        frames, weights = x.flatten(0, 1).expand(len(self.operands), -1, -1), self.weight("weight_ih").mT
        projected = (
            frames.bmm(weights) if bias is None else torch.baddbmm(bias.unsqueeze(1).to(x.dtype), frames, weights)
        )
        return projected.view(-1, *x.shape[:2], 4 * self.first.hidden)

    def weight(self, name: str) -> Tensor:
        """A parameter that is never missing."""
        weight = self[name]
        assert weight is not None
        return weight

    def transposed(self) -> Tensor:
        """The recurrent weights with a unit's gates side by side, ``[directions, H, H, 4]``."""
        gates = self.weight("weight_hh").view(len(self.operands), 4, self.first.hidden, self.first.hidden)
        return gates.permute(0, 3, 2, 1).contiguous()

    def masked(self, states: Tensor) -> Tensor:
        """``[directions, batch, frames, ...]`` with zeros past the lengths."""
        lengths = self.first.lengths
        if lengths is None:
            return states
        inside = torch.arange(states.size(2), device=states.device) < lengths.unsqueeze(1)
        return torch.where(inside.unsqueeze(-1), states, states.new_zeros(()))

    def starts(self) -> Tensor:
        """True at the frame of each sequence's first step: ``[directions, batch, frames, 1]``."""
        x, lengths = self.first.x, self.first.lengths
        frame = torch.arange(x.size(1), device=x.device)
        last = x.size(1) - 1 if lengths is None else lengths.unsqueeze(1).clamp(max=x.size(1)) - 1
        starts = [(frame == (last if reverse else 0)).expand(x.size(0), -1) for reverse in self.reversed]
        return torch.stack(starts).unsqueeze(3)

    def states_before(self, hidden: Tensor, starts: Tensor) -> Tensor:
        """The hidden state before the step of every frame; before the first step, the initial state."""
        before = torch.stack(
            [
                F.pad(states[:, 1:], (0, 0, 0, 1)) if reverse else F.pad(states[:, :-1], (0, 0, 1, 0))
                for states, reverse in zip(hidden, self.reversed, strict=True)
            ]
        )
        initial = self["initial_hidden"]
        return before if initial is None else torch.where(starts, initial[:, None, None].to(hidden.dtype), before)


def _stacked(tensors: list[Tensor | None]) -> Tensor | None:
    given = [tensor for tensor in tensors if tensor is not None]
    if not given:
        return None
    return given[0].unsqueeze(0) if len(given) == 1 else torch.stack(given)


@without_autocast
def _forward(operands: LSTMOperands, *others: Any) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ANN401
    """:func:`convrnn.ops.lstm` by the kernels, and the cell states in float32, empty if they are float32 already.

    ``x``, ``weight_ih`` and ``weight_hh`` have the dtype of the products; the other parameters may have any. The others
    are the direction or, for both, the parameters of the backward one; then all results have a first axis.
    """
    stack = _stack(operands, others)
    x = stack.first.x
    hidden = new_result(stack.first, stack.results_shape)
    cell = new_result(stack.first, stack.results_shape, torch.float32)
    if x.size(0):
        from convrnn.ops.triton.kernels import sequence

        arguments = stack.arguments() | {
            "wx": stack.project(x),
            "weight_hh": stack.transposed(),
            "first": _stacked([first_product(each) for each in stack.operands]),
            "hidden": hidden,
            "cell": cell,
        }
        for span in stack.spans():
            launcher.launch(sequence.forward, stack.programs, arguments | span, stack.tile.warps, stack.tile.stages)
    return (hidden, cell, cell.new_empty(0)) if x.dtype == torch.float32 else (hidden, cell.to(x.dtype), cell)


def _stack(operands: LSTMOperands, others: tuple[Any, ...]) -> _Stack:
    if len(others) == 1:
        return _Stack.of(operands, reverse=others[0])
    return _Stack.of(operands, directions.backward_operands(operands, others), reverse=False)


def _fake_forward(operands: LSTMOperands, *others: Any) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ANN401
    x, shape = operands.x, operands.states_shape
    shape = shape if len(others) == 1 else (2, *shape)  # type: ignore[assignment]
    exact = x.new_empty(0 if x.dtype == torch.float32 else shape, dtype=torch.float32)
    return x.new_empty(shape), x.new_empty(shape), exact


@without_autocast
def _backward(
    grad_hidden: Tensor | None,
    grad_cell: Tensor | None,
    hidden: Tensor,
    cell: Tensor,
    operands: LSTMOperands,
    *others: Any,  # noqa: ANN401
) -> list[Tensor]:
    """Gradients of x (empty unless the last argument is true) and of the parameters that are not None, in order."""
    *others_before, with_x = others
    stack = _stack(operands, tuple(others_before))
    shape, first = stack.results_shape, stack.first
    check_other("hidden", hidden, shape, first, first.x.dtype)
    check_other("cell", cell, shape, first, torch.float32)
    check_other("grad_hidden", grad_hidden, shape, first)
    check_other("grad_cell", grad_cell, shape, first)
    hidden, cell = hidden.view(stack.states_shape), cell.view(stack.states_shape)
    x = stack.masked(first.x.unsqueeze(0)).squeeze(0)
    starts = stack.starts()
    before = stack.states_before(hidden, starts).flatten(1, 2)
    weight_ih, weight_hh = stack.weight("weight_ih"), stack.weight("weight_hh")
    sums_of_gates = _times(before, weight_hh.mT, stack.project(x).flatten(1, 2))
    gates = stack.masked(sums_of_gates.unflatten(1, x.shape[:2]))
    sums = None
    if first.weight_peephole is not None or first.initial_cell is not None:
        sums = x.new_zeros(len(stack.operands), stack.programs[0], 4, first.hidden, dtype=torch.float32)
    if x.size(0):
        from convrnn.ops.triton.kernels import sequence

        arguments = stack.arguments() | {
            "grad_hidden": None if grad_hidden is None else grad_hidden.contiguous(),
            "grad_cell": None if grad_cell is None else grad_cell.contiguous(),
            "cell": cell,
            "gates": gates,
            "carried": cell.new_empty(len(stack.operands), x.size(0), first.hidden),
            "sums": sums,
        }
        for span in reversed(stack.spans()):
            launcher.launch(sequence.backward, stack.programs, arguments | span, stack.tile.warps, stack.tile.stages)
    rows = gates.flatten(1, 2)
    of_first = torch.where(starts, gates, gates.new_zeros(())).sum((1, 2)).unsqueeze(2)
    frames = x.flatten(0, 1).expand(len(stack.operands), -1, -1)
    grad_x = _times(rows, weight_ih).sum(0).view(x.shape) if with_x else None
    gradients = {
        "weight_ih": _times(rows.mT, frames),
        "weight_hh": _times(rows.mT, before),
        "bias": rows.sum(1, dtype=torch.float32),
        "weight_peephole": None if sums is None else sums[:, :, :3].sum(1),
        "initial_hidden": _times(weight_hh.mT, of_first).squeeze(2),
        "initial_cell": None if sums is None else sums[:, :, 3].sum(1),
    }
    both = len(stack.operands) > 1
    found = []
    for number in range(len(stack.operands)):
        # Copies where there are two, because the results of an operation must not share memory.
        own = {
            name: None if value is None else value[number].clone() if both else value[number]
            for name, value in gradients.items()
        }
        found.append(LSTMGradients(None if number else grad_x, **own))  # type: ignore[arg-type]
    return directions.list_gradients(stack.operands, found)


def _times(a: Tensor, b: Tensor, add: Tensor | None = None) -> Tensor:
    """``a @ b + add`` for each direction."""
    if a.size(0) == 1:
        product = a[0].mm(b[0]) if add is None else torch.addmm(add[0], a[0], b[0])
        return product.unsqueeze(0)
    return a.bmm(b) if add is None else torch.baddbmm(add, a, b)


def _fake_backward(
    grad_hidden: Tensor | None,  # noqa: ARG001
    grad_cell: Tensor | None,  # noqa: ARG001
    hidden: Tensor,  # noqa: ARG001
    cell: Tensor,  # noqa: ARG001
    operands: LSTMOperands,
    *others: Any,  # noqa: ANN401
) -> list[Tensor]:
    *parameters, with_x = others
    return directions.fake_gradients(operands, parameters if len(parameters) > 1 else (), with_x)


_STATES = "Tensor? grad_hidden, Tensor? grad_cell, Tensor hidden, Tensor cell"

_operation = Operation(f"triton_lstm({LSTM}, bool reverse) -> (Tensor, Tensor, Tensor)", _forward, _fake_forward)
_operation_backward = Operation(
    f"triton_lstm_backward({_STATES}, {LSTM}, bool reverse, bool with_x) -> Tensor[]", _backward, _fake_backward
)
_both = Operation(
    f"triton_bilstm({LSTM}, {directions.PARAMETERS}) -> (Tensor, Tensor, Tensor)", _forward, _fake_forward
)
_both_backward = Operation(
    f"triton_bilstm_backward({_STATES}, {LSTM}, {directions.PARAMETERS}, bool with_x) -> Tensor[]",
    _backward,
    _fake_backward,
)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:  # noqa: ANN401
    tensors, others = inputs[: directions.TENSORS], inputs[directions.TENSORS :]
    if len(others) == 1:
        ctx.reverse, others = others[0], ()
    hidden, cell, exact = output
    ctx.mark_non_differentiable(exact)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(hidden, cell if cell.dtype == torch.float32 else exact, *tensors, *others)


def _differentiate(ctx: Any, grad_hidden: Tensor | None, grad_cell: Tensor | None, _: None) -> tuple[Any, ...]:  # noqa: ANN401
    if grad_hidden is None and grad_cell is None:
        return (None,) * 9
    hidden, cell, *tensors = ctx.saved_tensors
    with_x = ctx.needs_input_grad[0]
    gradients = _operation_backward(grad_hidden, grad_cell, hidden, cell, *tensors, ctx.reverse, with_x)
    return (*directions.hand_out_all(gradients, tensors, with_x), None)


def _differentiate_both(
    ctx: Any,  # noqa: ANN401
    grad_hidden: Tensor | None,
    grad_cell: Tensor | None,
    _: None,
) -> tuple[Any, ...]:
    hidden, cell, *tensors = ctx.saved_tensors
    if grad_hidden is None and grad_cell is None:
        return (None,) * len(tensors)
    with_x = ctx.needs_input_grad[0]
    gradients = _both_backward(grad_hidden, grad_cell, hidden, cell, *tensors, with_x)
    return directions.hand_out_all(gradients, tensors, with_x)


_operation.register_autograd(_differentiate, setup_context=_setup)
_both.register_autograd(_differentiate_both, setup_context=_setup)
for _each in (_operation_backward, _both_backward):
    _each.register_autograd(refuse_second_derivative("Triton LSTM kernels can"))


def lstm(operands: LSTMOperands, reverse: bool) -> tuple[Tensor, Tensor]:
    """:func:`convrnn.ops.lstm` by the kernels."""
    hidden, cell, _ = torch.ops.convrnn.triton_lstm(*operands.tensors, reverse)
    return hidden, cell


def bilstm_hidden(operands: LSTMOperands, backward: LSTMOperands) -> Tensor:
    """:func:`convrnn.ops.bilstm_hidden` by the kernels."""
    hidden, _, _ = torch.ops.convrnn.triton_bilstm(*operands.tensors, *backward.differentiable[1:])
    return torch.cat(hidden.unbind(), dim=-1)
