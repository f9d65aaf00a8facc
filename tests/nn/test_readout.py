"""The mean of the softmax outputs, in log space."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from convrnn.nn import MeanSoftmax


@given(
    st.lists(st.integers(1, 8), min_size=1, max_size=4),
    st.integers(0, 3),
    st.one_of(st.none(), st.integers(1, 6)),
    st.integers(0, 99),
)
def test_the_readout_is_the_plain_mean_over_the_last_valid_frames(lengths, beyond, last, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(len(lengths), max(lengths) + beyond, 3, generator=generator, dtype=torch.float64) * 3
    readout = MeanSoftmax(last)
    y = readout(logits, torch.tensor(lengths))
    for row, length in enumerate(lengths):
        outputs = [torch.softmax(logits[row, t], -1) for t in range(length)]
        used = outputs if last is None else outputs[max(length - last, 0) :]
        # float64, at most eight terms.
        torch.testing.assert_close(y[row].exp(), sum(used) / len(used), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(readout(logits[row : row + 1, :length])[0], y[row], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("lengths", [None, torch.tensor([3])])
def test_tiny_probabilities_stay_finite(lengths):
    # exp(-800) is zero even in float64; its logarithm is not.
    logits = torch.tensor([[[0.0, -800.0], [0.0, -900.0], [0.0, -800.0]]], requires_grad=True)
    y = MeanSoftmax(last=2)(logits, lengths)
    torch.testing.assert_close(y, torch.tensor([[0.0, -800.0 - torch.tensor(2.0).log()]]))
    torch.nn.functional.nll_loss(y, torch.tensor([1])).backward()
    assert logits.grad.isfinite().all()
    # Only the more likely of the two frames affects the mean.
    torch.testing.assert_close(logits.grad[0], torch.tensor([[0.0, 0.0], [0.0, 0.0], [1.0, -1.0]]))


def test_a_sequence_without_a_frame_is_refused():
    with pytest.raises(ValueError, match="lengths must be at least 1 for a prediction"):
        MeanSoftmax()(torch.zeros(2, 3, 4), torch.tensor([3, 0]))
    with pytest.raises(
        ValueError, match=r"logits must be \[batch, frames, classes\] with at least one frame, .* \[2, 0, 4\]"
    ):
        MeanSoftmax()(torch.zeros(2, 0, 4))
    with pytest.raises(ValueError, match=r"logits must be \[batch, frames, classes\]"):
        MeanSoftmax()(torch.zeros(3, 4))


def test_the_gradient_of_unused_frames_is_zero():
    logits = torch.randn(1, 7, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    MeanSoftmax(last=2)(logits, torch.tensor([5]))[0, 0].backward()
    assert logits.grad[0].any(-1).tolist() == [False, False, False, True, True, False, False]
