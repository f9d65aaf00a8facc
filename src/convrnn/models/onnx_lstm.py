"""``convrnn::lstm`` as ONNX's own operator, peepholes included."""

from collections.abc import Callable
from typing import Any


def lstm_of_onnx() -> Callable[..., Any]:
    """The function that the exporter calls for the operation."""
    from onnxscript import opset18

    op: Any = opset18

    def in_order(stacked: Any, order: tuple[int, ...]) -> Any:  # noqa: ANN401
        """Reorders gates that are stacked along the first axis."""
        parts = op.Split(stacked, axis=0, num_outputs=len(order))
        return op.Concat(*(parts[i] for i in order), axis=0)

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
        i_o_f_g = (0, 3, 1, 2)
        first = op.Constant(value_ints=[0])
        batch = op.Shape(x, start=0, end=1)
        sizes = op.Concat(op.Constant(value_ints=[1]), batch, op.Constant(value_ints=[hidden]), axis=0)

        def state(vector: Any) -> Any:  # noqa: ANN401
            return None if vector is None else op.Expand(vector, sizes)

        if bias is not None:
            ordered = in_order(bias, i_o_f_g)
            bias = op.Unsqueeze(op.Concat(ordered, op.Sub(ordered, ordered), axis=0), first)
        if weight_peephole is not None:
            weight_peephole = op.Reshape(in_order(weight_peephole, (0, 2, 1)), op.Constant(value_ints=[1, 3 * hidden]))
        y, _, _ = op.LSTM(
            op.Transpose(x, perm=[1, 0, 2]),
            op.Unsqueeze(in_order(weight_ih, i_o_f_g), first),
            op.Unsqueeze(in_order(weight_hh, i_o_f_g), first),
            bias,
            None if lengths is None else op.Cast(lengths, to=6),  # int32
            state(initial_hidden),
            state(initial_cell),
            weight_peephole,
            direction="reverse" if reverse else "forward",
            hidden_size=hidden,
        )
        states = op.Transpose(op.Squeeze(y, op.Constant(value_ints=[1])), perm=[1, 0, 2])
        # ONNX's LSTM does not return every frame's cell state, and no model uses it; one that did would fail the check.
        return states, states

    return lstm
