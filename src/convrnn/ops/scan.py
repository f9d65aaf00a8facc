"""Long windows in exported programs: a loop over the steps of a window, where unrolling would take minutes."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._higher_order_ops.scan import scan


def scan_windows(
    step: Callable[..., Tensor | tuple[Tensor, ...]],
    frames: Tensor,
    weight_ih: Tensor,
    bias: Tensor | None,
    initial: Sequence[Tensor],
    *,
    wanted: int,
    reduce: str,
    reverse: bool,
) -> Tensor:
    """The states of every window, reduced, as :func:`convrnn.ops.reference.windowed` gives them.

    Unlike there, a frame is projected in each step anew, so that memory does not grow with the length of the window;
    but with one matrix per frame of the window, all projections are computed before the loop.

    Args:
        step: One time step: ``(wx_t, *states)`` to the new state or states.
        frames: Frames of every window ``[kernel_size, batch, windows, in]``.
        weight_ih: ``[gates * H, in]`` or ``[kernel_size, gates * H, in]``.
        bias: ``[gates * H]`` or None.
        initial: The states before the first step, each ``[H]``.
        wanted: Which of the states is reduced.
        reduce: "last", "mean", "max" or "none".
        reverse: Process each window from its last frame to its first.

    Returns:
        ``[batch, windows, H]``, or ``[batch, windows, kernel_size, H]`` for "none".
    """
    per_position = weight_ih.dim() == 3
    # Copies, since the operator refuses inputs that share memory.
    size = (*frames.shape[1:3], initial[0].size(0))
    states = [state.expand(size).clone() for state in initial]
    first = states[wanted]
    reduced = torch.full_like(first, -torch.inf) if reduce == "max" else torch.zeros_like(first)
    if per_position:
        frames = torch.einsum("kbwi,kgi->kbwg", frames, weight_ih)
        frames = frames if bias is None else frames + bias

    def one_step(before: list[Tensor], x_t: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        *states, reduced = before
        new = step(x_t if per_position else F.linear(x_t, weight_ih, bias), *states)
        after = list(new) if isinstance(new, tuple) else [new]
        state = after[wanted]
        if reduce == "max":
            reduced = torch.maximum(reduced, state)
        elif reduce == "mean":
            reduced = reduced + state
        else:
            reduced = reduced.clone()
        # The operator wants an output at every step; one value of the state is the least.
        return [*after, reduced], [state.clone() if reduce == "none" else state[..., :1].clone()]

    after, every = scan(one_step, [*states, reduced], frames.flip(0) if reverse else frames, dim=0)
    if reduce == "none":
        found: Tensor = every[0].flip(0) if reverse else every[0]
        return found.movedim(0, 2)
    if reduce == "last":
        last: Tensor = after[wanted]
        return last
    total: Tensor = after[-1]
    return total / frames.size(0) if reduce == "mean" else total
