"""The native kernels on batches and tensors of every kind: ragged, padded, empty, with any strides."""

import functools

import pytest
import torch

from convrnn import ops
from native_kernels import EVERY_OPERATION, EVERY_SET, needs_library
from operations import (
    OUTPUTS,
    draw_float32,
    is_windowed,
    native_and_reference,
    on,
    outputs_of,
    same,
    values_and_gradients,
)

pytestmark = needs_library

# Sequences of different lengths.


@EVERY_SET
@EVERY_OPERATION
@pytest.mark.parametrize("options", [{}, {"reverse": True}, {"positions": 3}], ids=str)
def test_padding_affects_neither_outputs_nor_gradients(instruction_set, operation, options):
    if not is_windowed(operation) and "positions" in options:
        pytest.skip("has no position weights")
    lengths = torch.tensor([11, 6, 2, 0])
    inside = ops.geometry.frame_mask(lengths, 11)
    results = []
    for padding in (0.0, 1e30, torch.nan, torch.inf):
        tensors = draw_float32(operation, positions=options.get("positions"))
        tensors["x"][~inside] = padding
        with on(instruction_set):
            results.append(
                values_and_gradients(operation, tensors, lengths=lengths, reverse=options.get("reverse", False))
            )
    assert not results[0]["gradient of x"][~inside].any()
    for name in OUTPUTS & results[0].keys():
        ends = ops.geometry.num_windows(lengths, 3, 2) if name == "y" else lengths
        y = results[0][name].flatten(2)
        assert torch.equal((y != 0).any(-1), ops.geometry.frame_mask(ends, y.size(1)))
    assert all(same(results[0], other) for other in results[1:])


@EVERY_SET
@EVERY_OPERATION
def test_output_gradients_beyond_the_ends_have_no_effect(instruction_set, operation):
    lengths = torch.tensor([11, 6, 2, 0])
    leaves = {name: tensor.requires_grad_() for name, tensor in draw_float32(operation).items()}
    gradients = []
    for beyond in (0.0, 1e30, torch.nan):
        with on(instruction_set):
            outputs = outputs_of(operation, leaves, lengths=lengths)
            upstream = {name: torch.ones_like(y) for name, y in outputs.items()}
            for name, gradient in upstream.items():
                ends = ops.geometry.num_windows(lengths, 3, 2) if name == "y" else lengths
                gradient[~ops.geometry.frame_mask(ends, gradient.size(1))] = beyond
            gradients.append(torch.autograd.grad([*outputs.values()], [*leaves.values()], [*upstream.values()]))
    for other in gradients[1:]:
        assert all(map(torch.equal, gradients[0], other))


@EVERY_SET
@EVERY_OPERATION
@pytest.mark.parametrize(("batch", "lengths"), [(0, None), (0, []), (3, [0, 0, 0])])
def test_a_batch_and_its_sequences_may_be_empty(instruction_set, operation, batch, lengths):
    lengths = None if lengths is None else torch.tensor(lengths, dtype=torch.int64)
    for positions in (None,) if not is_windowed(operation) else (None, 3):
        tensors = draw_float32(operation, batch=batch, positions=positions)
        results, expected = native_and_reference(instruction_set, operation, tensors, lengths=lengths)
        assert same(results, expected)
        assert not any(value.any() for value in results.values())


@EVERY_SET
@EVERY_OPERATION
@pytest.mark.parametrize("reverse", [False, True])
def test_a_sequence_gives_the_same_result_alone_and_in_a_batch(instruction_set, operation, reverse):
    lengths = torch.tensor([29, 12, 3, 29, 7, 18, 5])
    tensors = draw_float32(operation, batch=len(lengths), frames=29, features=26, hidden=37)
    with on(instruction_set):
        together = outputs_of(operation, tensors, lengths=lengths, reverse=reverse)
        for row, length in enumerate(lengths):
            alone = tensors | {"x": tensors["x"][row : row + 1, :length]}
            for name, y in outputs_of(operation, alone, reverse=reverse).items():
                assert torch.equal(y[0], together[name][row, : y.size(1)])


# Tensors with any strides.


def scattered(tensor):
    """The same values, with gaps between them in memory and the axes in reverse order."""
    view = torch.zeros([2 * size for size in reversed(tensor.shape)])[(slice(None, None, 2),) * tensor.dim()]
    return view.permute(*reversed(range(tensor.dim()))).copy_(tensor)


def expanded(tensor):
    """Another tensor of the same shape, whose last axis repeats one value."""
    return tensor.select(-1, 0).unsqueeze(-1).expand(tensor.shape)


@EVERY_OPERATION
@pytest.mark.parametrize("lay_out", [scattered, expanded])
def test_strides_do_not_matter(operation, lay_out):
    lengths = torch.tensor([9, 99, 4, 99, 5, 99, 11])[::2]
    for positions in (None,) if not is_windowed(operation) else (None, 3):
        strided = {name: lay_out(tensor) for name, tensor in draw_float32(operation, positions=positions).items()}
        assert not any(tensor.is_contiguous() for tensor in strided.values())
        contiguous = {name: tensor.contiguous() for name, tensor in strided.items()}
        with ops.use_backend("native"):
            expected = values_and_gradients(operation, contiguous, lengths=lengths.contiguous())
            results = values_and_gradients(operation, strided, lengths=lengths)
        for name, value in results.items():
            torch.testing.assert_close(value, expected[name], rtol=1e-6, atol=1e-6)


@EVERY_OPERATION
def test_gradients_may_come_with_any_strides(operation):
    leaves = {name: tensor.requires_grad_() for name, tensor in draw_float32(operation).items()}
    gradients = []
    with ops.use_backend("native"):
        for lay_out in (torch.clone, scattered, expanded):
            outputs = outputs_of(operation, leaves).values()
            upstream = [lay_out(torch.ones_like(y)) for y in outputs]
            gradients.append(torch.autograd.grad([*outputs], [*leaves.values()], upstream))
        sum(y.sum() for y in outputs_of(operation, leaves).values()).backward()
    gradients.append([leaf.grad for leaf in leaves.values()])
    for other in gradients[1:]:
        assert all(map(torch.equal, gradients[0], other))


@EVERY_OPERATION
@pytest.mark.parametrize(
    "wanted", [["x"], ["bias"], ["weight_hh", "initial_cell"], ["weight_ih", "bias_hn", "weight_peephole"]]
)
def test_gradients_of_some_tensors_equal_those_of_all(operation, wanted):
    tensors = draw_float32(operation)
    wanted = [name for name in wanted if name in tensors]
    with ops.use_backend("native"):
        expected = values_and_gradients(operation, tensors)
        fixed = {name: tensor for name, tensor in tensors.items() if name not in wanted}
        results = values_and_gradients(functools.partial(operation, **fixed), {name: tensors[name] for name in wanted})
    assert same(results, {name: expected[name] for name in results})
