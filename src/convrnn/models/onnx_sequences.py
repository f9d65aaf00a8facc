"""``convrnn::rnn``, ``convrnn::gru`` and ``convrnn::lstm`` as ONNX's own operators, peepholes included."""

from collections.abc import Callable
from typing import Any

import torch


def translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """The functions that the exporter calls for the operations over whole sequences, for ``torch.onnx.export``."""
    from onnxscript import opset18

    op: Any = opset18

    def first_axis() -> Any:  # noqa: ANN401
        return op.Constant(value_ints=[0])

    def in_order(stacked: Any, order: tuple[int, ...]) -> Any:  # noqa: ANN401
        """Reorders gates that are stacked along the first axis."""
        if len(order) == 1:
            return stacked
        parts = op.Split(stacked, axis=0, num_outputs=len(order))
        return op.Concat(*(parts[i] for i in order), axis=0)

    def state(vector: Any, x: Any, hidden: int) -> Any:  # noqa: ANN401
        """One initial state for every sequence."""
        if vector is None:
            return None
        batch = op.Shape(x, start=0, end=1)
        one, units = op.Constant(value_ints=[1]), op.Constant(value_ints=[hidden])
        return op.Expand(vector, op.Concat(one, batch, units, axis=0))

    def run(
        operator: Callable[..., Any],
        order: tuple[int, ...],
        x: Any,  # noqa: ANN401
        weight_ih: Any,  # noqa: ANN401
        weight_hh: Any,  # noqa: ANN401
        biases: tuple[Any, Any] | None,
        lengths: Any,  # noqa: ANN401
        *others: Any,  # noqa: ANN401
        **attributes: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """The hidden states ``[batch, frames, H]`` by an ONNX operator, whose gates are ours in another order.

        ``biases`` are those of the input and of the state; ``others`` follow the lengths.
        """
        bias = None
        if biases is not None:
            bias = op.Unsqueeze(op.Concat(*(in_order(each, order) for each in biases), axis=0), first_axis())
        found = operator(
            op.Transpose(x, perm=[1, 0, 2]),
            op.Unsqueeze(in_order(weight_ih, order), first_axis()),
            op.Unsqueeze(in_order(weight_hh, order), first_axis()),
            bias,
            None if lengths is None else op.Cast(lengths, to=6),  # int32
            *others,
            hidden_size=weight_hh.shape[1],
            **attributes,
        )
        return op.Transpose(op.Squeeze(found[0], op.Constant(value_ints=[1])), perm=[1, 0, 2])

    def direction(reverse: bool) -> str:
        return "reverse" if reverse else "forward"

    def rnn(
        x: Any,  # noqa: ANN401
        weight_ih: Any,  # noqa: ANN401
        weight_hh: Any,  # noqa: ANN401
        bias: Any = None,  # noqa: ANN401
        initial_hidden: Any = None,  # noqa: ANN401
        lengths: Any = None,  # noqa: ANN401
        nonlinearity: str = "tanh",
        reverse: bool = False,
    ) -> Any:  # noqa: ANN401
        biases = None if bias is None else (bias, op.Sub(bias, bias))
        initial = state(initial_hidden, x, weight_hh.shape[1])
        activations = [{"tanh": "Tanh", "sigmoid": "Sigmoid", "relu": "Relu"}[nonlinearity]]
        options = {"activations": activations, "direction": direction(reverse)}
        return run(op.RNN, (0,), x, weight_ih, weight_hh, biases, lengths, initial, **options)

    def gru(
        x: Any,  # noqa: ANN401
        weight_ih: Any,  # noqa: ANN401
        weight_hh: Any,  # noqa: ANN401
        bias: Any = None,  # noqa: ANN401
        bias_hn: Any = None,  # noqa: ANN401
        initial_hidden: Any = None,  # noqa: ANN401
        lengths: Any = None,  # noqa: ANN401
        reset_after: bool = False,
        reverse: bool = False,
    ) -> Any:  # noqa: ANN401
        hidden = weight_hh.shape[1]
        biases = None
        if bias is not None or bias_hn is not None:
            given = bias if bias is not None else op.Concat(bias_hn, bias_hn, bias_hn, axis=0)
            zeros = op.Sub(given, given)
            of_state = zeros
            if bias_hn is not None:
                of_state = op.Concat(*op.Split(zeros, axis=0, num_outputs=3)[:2], bias_hn, axis=0)
            biases = zeros if bias is None else bias, of_state
        options = {"linear_before_reset": int(reset_after), "direction": direction(reverse)}
        initial = state(initial_hidden, x, hidden)
        return run(op.GRU, (1, 0, 2), x, weight_ih, weight_hh, biases, lengths, initial, **options)

    def lstm(
        x: Any,  # noqa: ANN401
        weight_ih: Any,  # noqa: ANN401
        weight_hh: Any,  # noqa: ANN401
        bias: Any = None,  # noqa: ANN401
        weight_peephole: Any = None,  # noqa: ANN401
        initial_hidden: Any = None,  # noqa: ANN401
        initial_cell: Any = None,  # noqa: ANN401
        lengths: Any = None,  # noqa: ANN401
        reverse: bool = False,
    ) -> Any:  # noqa: ANN401
        hidden = weight_hh.shape[1]
        biases = None if bias is None else (bias, op.Sub(bias, bias))
        initial = (state(initial_hidden, x, hidden), state(initial_cell, x, hidden))
        if weight_peephole is not None:
            weight_peephole = op.Reshape(in_order(weight_peephole, (0, 2, 1)), op.Constant(value_ints=[1, 3 * hidden]))
        states = run(
            op.LSTM,
            (0, 3, 1, 2),  # i, o, f, g
            x,
            weight_ih,
            weight_hh,
            biases,
            lengths,
            *initial,
            weight_peephole,
            direction=direction(reverse),
        )
        # ONNX's LSTM does not return every frame's cell state, and no model uses it; one that did would fail the check.
        return states, states

    convrnn = torch.ops.convrnn
    return {convrnn.rnn.default: rnn, convrnn.gru.default: gru, convrnn.lstm.default: lstm}
