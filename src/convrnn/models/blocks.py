"""Classifies recordings of hours block by block, so that memory does not grow with their length."""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from convrnn import ops
from convrnn.models.classifier import SequenceClassifier

LONG = 2**16
"""Number of frames above which a recording is classified in blocks: 11 minutes."""

MOST_FRAMES = 2**17
"""Maximum number of frames in a batch, padding included."""

BLOCK = 8192
"""Number of outputs of the front end that are processed at a time."""


def works_in_blocks(model: SequenceClassifier) -> bool:
    """Whether :func:`classify_in_blocks` supports the model: on the CPU, without padding that depends on the length."""
    on_cpu = next(model.parameters()).device.type == "cpu"
    return on_cpu and all(getattr(layer, "padding", "valid") == "valid" for layer in model.front_end)


def classify_in_blocks(model: SequenceClassifier, x: Tensor, *, block: int = BLOCK) -> Tensor:
    """``model(x)`` for one recording, with the states of one block at a time in memory.

    The LSTM starts each block from its state at the end of the block before. A backward LSTM runs twice: first to find
    the states between blocks, then within each block.

    On the CPU kernel the result has the same bits for any blocks. PyTorch's own matrix products (of convolutions,
    simple and gated cells, and dense layers over all frames) may differ in the last digit with the number of rows.

    Args:
        model: In evaluation mode; :func:`works_in_blocks` must be true for it.
        x: Normalised features ``[1, frames, features]``, at least ``model.shortest_input`` frames.
        block: Number of outputs of the front end at a time.

    Returns:
        Log-probabilities ``[1, classes]``.

    Raises:
        ValueError: The shape is wrong, there are too few frames, or the model is not supported.

    Example:
        >>> from convrnn.models import preset
        >>> model = SequenceClassifier(preset("clstm", "emotion", in_features=26, num_classes=5)).eval()
        >>> x = torch.randn(1, 5000, 26)
        >>> bool(torch.equal(classify_in_blocks(model, x, block=100), model(x)))
        True
    """
    if not works_in_blocks(model):
        raise ValueError(
            "the model cannot process x in blocks: it is not on the CPU, or has layers with padding 'same'"
        )
    if x.dim() != 3 or x.size(0) != 1 or x.size(1) < model.shortest_input:
        raise ValueError(
            f"x must be [1, frames, features] with {model.shortest_input} frames or more, but has shape {list(x.shape)}"
        )
    with torch.inference_mode():
        features = _front_end(model, x, block)
        edges = [*range(0, features.size(1), block), features.size(1)]
        behind = _states_behind(model, features, edges) if model.recurrent.bidirectional else None
        state = features.new_empty(2, model.recurrent.hidden_size)
        last = model.config.last_frames
        first = 0 if last is None else max(0, features.size(1) - last)
        # What outlives the loop is allocated before it, so that memory does not fragment.
        width = model.config.num_classes if last is None else model.dense.in_features
        kept = features.new_empty(1, features.size(1) - first, width)
        for number, (start, end) in enumerate(pairwise(edges)):
            part = features[:, start:end]
            hidden = _recurrent(model, part, state if number else None, state)
            if behind is not None:
                backwards = _recurrent(model, part, behind[number] if end < edges[-1] else None, reverse=True)
                hidden = torch.cat([hidden, backwards], dim=-1)
            if end > first:
                wanted = hidden[:, max(0, first - start) :]
                kept[:, max(start, first) - first : end - first] = _head(model, wanted) if last is None else wanted
        log_probabilities: Tensor = model.readout(kept if last is None else _head(model, kept))
        return log_probabilities


def _front_end(model: SequenceClassifier, x: Tensor, block: int) -> Tensor:
    """The front end's output ``[1, windows, features]``."""
    if not model.front_end:
        return x
    field, stride = model.receptive_field, model.frame_stride
    count = (x.size(1) - field) // stride + 1
    features = x.new_empty(1, count, model.recurrent.input_size)
    for start in range(0, count, block):
        end = min(start + block, count)
        frames = x[:, start * stride : (end - 1) * stride + field]
        features[:, start:end] = model.extract_features(frames)[0]
    return features


def _states_behind(model: SequenceClassifier, features: Tensor, edges: list[int]) -> Tensor:
    """States ``[blocks, 2, hidden]`` in which the backward LSTM enters each block except the last."""
    states = features.new_empty(len(edges) - 1, 2, model.recurrent.hidden_size)
    for number in range(len(edges) - 2, 0, -1):
        before = None if number == len(edges) - 2 else states[number]
        part = features[:, edges[number] : edges[number + 1]]
        _recurrent(model, part, before, states[number - 1], reverse=True)
    return states


def _recurrent(
    model: SequenceClassifier, x: Tensor, before: Tensor | None, after: Tensor | None = None, *, reverse: bool = False
) -> Tensor:
    """Hidden states of a block, starting from ``before`` or the learned state; the last one is written to ``after``."""
    suffix = "_l0_reverse" if reverse else "_l0"
    tensors: dict[str, Any] = {
        name: getattr(model.recurrent, name + suffix, None)
        for name in ("weight_ih", "weight_hh", "bias", "weight_peephole", "initial_hidden", "initial_cell")
    }
    if before is not None:
        tensors["initial_hidden"], tensors["initial_cell"] = before
    hidden, cell = ops.lstm(x, **tensors, reverse=reverse)
    if after is not None:
        end = 0 if reverse else -1
        after[0], after[1] = hidden[0, end], cell[0, end]
    return hidden


def _head(model: SequenceClassifier, hidden: Tensor) -> Tensor:
    logits: Tensor = model.output(torch.relu(model.dense(hidden)))
    return logits
