"""Window arithmetic, checked by enumerating the windows."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from convrnn.nn import CLSTM, ConvFeatures, MaxPool
from convrnn.ops import geometry

counts = st.integers(1, 9)
lengths = st.integers(0, 40)


def windows_of(length: int, kernel_size: int, stride: int) -> list[range]:
    """Every window that lies within the sequence, found by trying all starts."""
    starts = range(0, length + 1, stride)
    return [range(start, start + kernel_size) for start in starts if start + kernel_size <= length]


@given(lengths, counts, counts)
def test_num_windows_counts_the_windows(length, kernel_size, stride):
    expected = len(windows_of(length, kernel_size, stride))
    assert geometry.num_windows(length, kernel_size, stride) == expected
    assert geometry.num_windows(torch.tensor([length]), kernel_size, stride).tolist() == [expected]


@given(st.integers(1, 40), counts, counts)
def test_same_padding_is_tensorflows_rule(length, kernel_size, stride):
    windows = math.ceil(length / stride)
    padding = max((windows - 1) * stride + kernel_size - length, 0)
    assert geometry.num_windows_same(length, stride) == windows
    assert geometry.same_padding(length, kernel_size, stride) == padding
    assert geometry.num_windows(length + padding, kernel_size, stride) == windows
    assert geometry.same_padding(torch.tensor([length]), kernel_size, stride).tolist() == [padding]


@given(st.lists(st.integers(0, 12), min_size=1, max_size=3), st.integers(0, 3), counts, counts)
def test_pad_same_pads_each_sequence_by_its_own_length(sizes, beyond, kernel_size, stride):
    frames = max(1, *sizes) + beyond
    x = torch.full((len(sizes), frames, 1), torch.nan)
    for row, size in enumerate(sizes):
        x[row, :size, 0] = torch.arange(1.0, size + 1)
    padded, padded_lengths = geometry.pad_same(x, torch.tensor(sizes), kernel_size, stride)
    assert not padded.isnan().any()
    assert geometry.num_windows(padded.size(1), kernel_size, stride) == math.ceil(frames / stride)
    assert geometry.num_windows(padded_lengths, kernel_size, stride).tolist() == [math.ceil(n / stride) for n in sizes]
    for row, size in enumerate(sizes):
        alone = torch.zeros(padded.size(1))
        if size:
            front = max((math.ceil(size / stride) - 1) * stride + kernel_size - size, 0) // 2
            values = torch.cat([torch.zeros(front), torch.arange(1.0, size + 1), torch.zeros(padded.size(1))])
            alone = values[: padded.size(1)]
        assert padded[row, :, 0].tolist() == alone.tolist()


@given(st.integers(1, 20), counts, counts)
def test_pad_same_without_lengths_is_every_sequence_full(frames, kernel_size, stride):
    x = torch.arange(1.0, frames + 1).view(1, frames, 1)
    without, none = geometry.pad_same(x, None, kernel_size, stride)
    full, _ = geometry.pad_same(x, torch.tensor([frames]), kernel_size, stride)
    assert none is None
    windows = geometry.num_windows(without.size(1), kernel_size, stride)
    assert windows == geometry.num_windows(full.size(1), kernel_size, stride)
    # If the stride is longer than the kernel, frames after the last window may be missing: no window contains them.
    assert torch.equal(without.unfold(1, kernel_size, stride), full.unfold(1, kernel_size, stride))


@given(st.lists(st.integers(0, 6), min_size=1, max_size=4))
def test_reverse_frames_is_its_own_inverse_and_keeps_padding_last(sizes):
    x = torch.arange(1.0, len(sizes) * 6 + 1).view(len(sizes), 6, 1)
    reversed_ = geometry.reverse_frames(x, torch.tensor(sizes))
    for row, size in enumerate(sizes):
        assert reversed_[row, :size].tolist() == x[row, :size].flip(0).tolist()
        assert reversed_[row, size:].tolist() == x[row, size:].tolist()
    assert torch.equal(geometry.reverse_frames(reversed_, torch.tensor(sizes)), x)
    assert torch.equal(geometry.reverse_frames(x, None), x.flip(1))


@given(sizes=st.lists(st.integers(0, 7), min_size=1, max_size=4), count=st.integers(1, 9))
def test_last_frames_returns_the_last_frames_of_each_sequence(sizes, count):
    frames = max(1, *sizes)
    x = torch.arange(1.0, 1 + len(sizes) * frames).view(len(sizes), frames, 1)
    last, lengths = geometry.last_frames(x, torch.tensor(sizes), count)
    for row, size in enumerate(sizes):
        assert lengths[row] == min(size, count)
        assert torch.equal(last[row, : lengths[row]], x[row, max(size - count, 0) : size])
    whole, none = geometry.last_frames(x, None, count)
    assert none is None
    assert torch.equal(whole, x[:, max(frames - count, 0) :])


def test_mask_frames_stops_values_and_gradients_of_padding():
    x = torch.tensor([[[1.0], [torch.inf], [torch.nan]]], requires_grad=True)
    masked = geometry.mask_frames(x, torch.tensor([1]))
    assert masked.flatten().tolist() == [1.0, 0.0, 0.0]
    masked.square().sum().backward()
    assert x.grad.flatten().tolist() == [2.0, 0.0, 0.0]
    assert geometry.mask_frames(x, None) is x


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3)), min_size=0, max_size=3))
def test_the_receptive_field_is_what_a_perturbation_reaches(layers):
    field, step = geometry.receptive_field(layers)
    stack = [MaxPool(kernel_size, stride) for kernel_size, stride in layers]

    def second_output_of(x):
        for layer in stack:
            x = layer(x)
        return x[0, 1, 0]

    # With max pooling as the layer, a peak in a frame reaches an output exactly if a chain of windows connects them. A
    # stride longer than the kernel leaves gaps, but never at the ends of the field.
    frames = field + step
    reached = []
    for frame in range(frames):
        x = torch.zeros(1, frames, 1)
        x[0, frame] = 1.0
        if second_output_of(x) == 1.0:
            reached.append(frame)
    assert (min(reached), max(reached)) == (step, step + field - 1)


@pytest.mark.parametrize("make", [CLSTM, ConvFeatures])
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_an_output_depends_exactly_on_the_frames_of_its_window(make, padding):
    torch.manual_seed(0)
    kernel_size, stride, frames = 3, 2, 9
    options = {"nonlinearity": "tanh"} if make is ConvFeatures else {"reduce": "mean"}
    layer = make(1, 2, kernel_size, stride, padding=padding, **options)
    x = torch.randn(1, frames, 1)
    front = geometry.same_padding(frames, kernel_size, stride) // 2 if padding == "same" else 0
    y = layer(x)
    for frame in range(frames):
        changed = x.clone()
        changed[0, frame] += 1.0
        seen = (layer(changed) != y).any(-1).squeeze(0).tolist()
        start = [window * stride - front for window in range(y.size(1))]
        assert seen == [first <= frame < first + kernel_size for first in start]
