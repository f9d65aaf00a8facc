"""The Triton kernels' numbers equal the reference's in float64.

pytest does not collect this file: ``test_triton`` runs it in separate processes, in Triton's interpreter
(``TRITON_INTERPRET=1``) and, if there is a GPU, compiled; with the fixtures of ``triton_cases`` (``-p triton_cases``).
"""

import functools
import itertools
import math
import random

import pytest
import torch

from convrnn import ops
from convrnn.ops import geometry
from operations import OUTPUTS, draw_lengths, outputs_of, same
from triton_cases import (
    DEVICE,
    EVERY_OPERATION,
    EVERY_TILE,
    OPERATIONS,
    OPTIONAL,
    REDUCTIONS,
    SEQUENCES,
    distinct,
    drawn,
    errors,
    run,
    there_and_back,
)

WINDOWED_SIZES = [
    # batch, frames, features, hidden, kernel_size, stride
    (1, 1, 1, 1, 1, 1),
    (3, 11, 5, 21, 4, 3),
    (2, 11, 3, 32, 3, 1),
    (5, 9, 7, 17, 2, 4),
]


def windowed_cases():
    """Every sequence, reduction and direction; sizes and the other options are drawn."""
    chance = random.Random(0)
    for sequence, reduce, reverse in itertools.product(SEQUENCES, REDUCTIONS, [False, True]):
        batch, frames, features, hidden, kernel_size, stride = size = chance.choice(WINDOWED_SIZES[1:])
        options = {"kernel_size": kernel_size, "stride": stride, "sequence": sequence, "reduce": reduce}
        sizes = {"batch": batch, "frames": frames, "features": features, "hidden": hidden}
        yield pytest.param(
            sizes | {"positions": chance.choice([None, kernel_size])},
            options | {"reverse": reverse},
            {name for name in OPTIONAL if chance.random() < 0.5},
            chance.random() < 0.5,
            id="-".join(map(str, (*size, sequence, reduce, reverse))),
        )
    one = dict(zip(("batch", "frames", "features", "hidden"), WINDOWED_SIZES[0], strict=False))
    for sequence in SEQUENCES:
        yield pytest.param(one, {"kernel_size": 1, "sequence": sequence}, set(), False, id=f"one-{sequence}")


@EVERY_TILE
@pytest.mark.parametrize(("sizes", "options", "without", "with_lengths"), list(windowed_cases()))
def test_windows_equal_the_references_in_float64(sizes, options, without, with_lengths):
    tensors = drawn(**sizes, without=without)
    if with_lengths:
        options = options | {"lengths": draw_lengths(sizes["batch"], sizes["frames"]).to(DEVICE)}
    call = functools.partial(run, ops.windowed_lstm, tensors, **options)
    mask = distinct(ops.windowed_lstm, tensors, options, 1e-5)
    found = errors(call(mask=mask), call(backend="reference", dtype=torch.float64, mask=mask))
    # Float32 rounds each of about a hundred terms by up to 6e-8. The comparison is false for NaN.
    assert not {name: error for name, error in found.items() if not error <= 1e-5}


@EVERY_TILE
@pytest.mark.parametrize("sequence", SEQUENCES)
def test_a_program_processes_several_tiles(sequence):
    # 108 windows are 7 tiles of 16, the last one partly filled, for 2 programs; some contain no window.
    tensors = drawn(batch=3, frames=38, features=7, hidden=21)
    x = tensors.pop("x")
    options = {"kernel_size": 3, "sequence": sequence, "lengths": torch.tensor([38, 0, 20], device=DEVICE)}

    def operation(**parameters):
        return ops.windowed_lstm(x.to(parameters["weight_hh"].dtype), **parameters, **options)

    call = functools.partial(run, operation, tensors)
    found = errors(call(), call(backend="reference", dtype=torch.float64))
    assert not {name: error for name, error in found.items() if not error <= 1e-5}


@pytest.mark.parametrize("used", [SEQUENCES, ("hidden",), ("cell",)], ids=str)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("everything", [False, True])
def test_whole_sequences_equal_the_references_in_float64(used, reverse, everything):
    lengths = torch.tensor([5, 2, 0], device=DEVICE) if everything else None
    tensors = drawn(batch=3, frames=5, hidden=21, without=() if everything else OPTIONAL)
    call = functools.partial(run, ops.lstm, tensors, used=used, reverse=reverse, lengths=lengths)
    found = errors(call(), call(backend="reference", dtype=torch.float64))
    assert not {name: error for name, error in found.items() if not error <= 1e-5}


def both_directions(x, lengths=None, **named):
    """:func:`convrnn.ops.bilstm_hidden` with the parameters of the backward direction under names with a suffix."""
    backward = {name.removesuffix("_reverse"): named.pop(name) for name in list(named) if name.endswith("_reverse")}
    return ops.bilstm_hidden(x, named, backward, lengths=lengths)


def drawn_for_both(**options):
    backward = {f"{name}_reverse": t for name, t in drawn(**options, seed=1).items() if name != "x"}
    return drawn(**options) | backward


@pytest.mark.parametrize("everything", [False, True])
def test_both_directions_equal_the_references_in_float64(everything):
    lengths = torch.tensor([5, 2, 0], device=DEVICE) if everything else None
    tensors = drawn_for_both(batch=3, frames=5, hidden=21, without=() if everything else OPTIONAL)
    call = functools.partial(run, both_directions, tensors, lengths=lengths)
    found = errors(call(), call(backend="reference", dtype=torch.float64))
    assert not {name: error for name, error in found.items() if not error <= 1e-5}
    assert same(call(), call())


@pytest.mark.parametrize("tile", ["resident", "projecting", "streamed"], indirect=True)
@pytest.mark.parametrize(
    ("sequence", "reduce", "without"),
    [
        (*case, without)
        for case, without in zip(
            itertools.product(SEQUENCES, REDUCTIONS),
            itertools.cycle([(), ("bias", "initial_hidden"), ("weight_peephole", "initial_cell")]),
        )
    ],
    ids=str,
)
def test_windows_in_both_directions_equal_the_references_in_float64(sequence, reduce, without):
    options = {"kernel_size": 3, "stride": 2, "sequence": sequence, "reduce": reduce}
    tensors = drawn_for_both(batch=3, frames=17, features=7, hidden=21, without=without)
    if without:
        # 24 windows are two tiles; one sequence contains none.
        options["lengths"] = torch.tensor([17, 8, 0], device=DEVICE)
    mask = distinct(there_and_back, tensors, options, 1e-5)
    expected = run(there_and_back, tensors, "reference", dtype=torch.float64, mask=mask, **options)
    found = [errors(run(there_and_back, tensors, mask=mask, **options), expected)]
    # Without a gradient of x, frames may lie beside the hidden states.
    operation, x = functools.partial(there_and_back, tensors.pop("x")), expected.pop("gradient of x")
    assert x.any()
    found.append(errors(run(operation, tensors, mask=mask, **options), expected))
    assert not [(name, error) for each in found for name, error in each.items() if not error <= 1e-5]


@EVERY_TILE
def test_windows_in_both_directions_with_weights_for_each_position():
    tensors = drawn_for_both(batch=2, frames=9, features=5, hidden=14, positions=3)
    call = functools.partial(run, there_and_back, tensors, kernel_size=3, stride=2)
    found = errors(call(), call(backend="reference", dtype=torch.float64))
    assert not {name: error for name, error in found.items() if not error <= 1e-5}


@pytest.mark.parametrize("wanted", [["x"], ["weight_hh_reverse"], ["bias", "initial_cell_reverse"]], ids=str)
def test_gradients_of_some_tensors_of_both_directions_equal_those_of_all(wanted):
    tensors = drawn_for_both(batch=2, frames=5, hidden=14)
    expected = run(both_directions, tensors)
    fixed = {name: tensor for name, tensor in tensors.items() if name not in wanted}
    results = run(functools.partial(both_directions, **fixed), {name: tensors[name] for name in wanted})
    assert same(results, {name: expected[name] for name in results})


def test_both_directions_need_the_same_parameters():
    tensors = drawn(batch=2, frames=5, hidden=4)
    backward = {name: tensor for name, tensor in tensors.items() if name != "x"}
    smaller = {name: tensor for name, tensor in drawn(batch=2, frames=5, hidden=3).items() if name != "x"}
    for changed, sentence in (
        (backward | {"bias": None}, "bias is given for one direction and missing for the other"),
        (backward | {"initial_cell": backward["initial_cell"].half()}, "initial_cell must be the same in both"),
        (smaller, "weight_ih must be the same in both directions"),
        (backward | {"bias": torch.zeros(1, device=DEVICE)}, r"bias must have shape \[16\]"),
    ):
        with pytest.raises(ValueError, match=sentence):
            torch.ops.convrnn.triton_bilstm(*tensors.values(), None, *changed.values())
        with pytest.raises(ValueError, match=sentence):
            torch.ops.convrnn.triton_windowed_bilstm(
                *(*tensors.values(), None), *(3, 2, "cell", "last", False), *changed.values(), torch.float32
            )


# The unit roundoff: the largest relative error of rounding a number to the dtype.
ROUNDOFF = {torch.bfloat16: 2.0**-9, torch.float16: 2.0**-12}


@pytest.mark.parametrize("dtype", ROUNDOFF, ids=str)
@EVERY_OPERATION
def test_half_precision_operands_cost_few_roundings(operation, dtype):
    """Operands in bfloat16 or float16, states and sums in float32.

    x and the parameters are exact here. Rounded are the projection, the hidden state before each product, the result,
    and in the backward pass the gradients of the gates: about one rounding per step, and the slopes of the gates are at
    most 1. So values stay within 4 roundings of their tensor's largest, gradients within 8. With everything rounded, as
    in plain PyTorch, errors are larger.
    """
    tensors = {name: t.to(dtype).float() for name, t in drawn(batch=3, frames=9, features=7, hidden=29).items()}
    options = operation.keywords if isinstance(operation, functools.partial) else {}
    mask = distinct(getattr(operation, "func", operation), tensors, options, 8 * ROUNDOFF[dtype])
    exact = run(operation, tensors, backend="reference", dtype=torch.float64, mask=mask)
    found = errors(run(operation, tensors, dtype=dtype, mask=mask), exact)
    plain = errors(run(operation, tensors, backend="reference", dtype=dtype, mask=mask), exact)
    bounds = {name: (4 if name in OUTPUTS else 8) * ROUNDOFF[dtype] for name in exact}
    assert not {name: (error, bounds[name]) for name, error in found.items() if not error <= bounds[name]}

    def mean(errors):
        return math.sqrt(sum(error**2 for error in errors.values()) / len(errors))

    assert mean(found) <= mean(plain)


@EVERY_TILE
def test_autocast_multiplies_in_its_dtype_and_keeps_states_in_float32():
    operation, tensors = OPERATIONS["cell-mean"], drawn(batch=2, frames=7, hidden=21)
    exact = run(operation, tensors, backend="reference", dtype=torch.float64)
    with torch.autocast(DEVICE, dtype=torch.bfloat16):
        results = run(operation, tensors)
    assert all(value.dtype == torch.float32 for value in results.values())
    found = errors(results, exact)
    # x and the weights are rounded as well.
    assert not {name: error for name, error in found.items() if not 1e-5 < error <= 16 * ROUNDOFF[torch.bfloat16]}


@EVERY_TILE
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("sequence", SEQUENCES)
def test_equal_states_share_the_gradient_of_their_maximum(sequence, reverse):
    tensors = drawn(batch=2, frames=9, hidden=19, without={"initial_hidden", "initial_cell"})
    for name in ("weight_ih", "weight_hh", "bias", "weight_peephole"):
        # Then every state of every frame is 0.
        tensors[name] *= 0
    options = {"kernel_size": 4, "stride": 3, "reduce": "max", "sequence": sequence, "reverse": reverse}
    expected = run(ops.windowed_lstm, tensors, backend="reference", **options)
    assert expected["gradient of weight_ih"].any()
    for name, value in run(ops.windowed_lstm, tensors, **options).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-6)


@EVERY_TILE
@pytest.mark.parametrize("sign", [1, -1])
def test_small_states_keep_their_relative_accuracy(sign):
    # Of one sign, so that no sum cancels.
    tensors = {name: t.abs() for name, t in drawn(batch=2, frames=5, hidden=17).items()}
    for name, tensor in tensors.items():
        tensor *= (1 if name == "x" else 1e-4) * (1 if name.startswith("weight") else sign)
    for operation in (OPERATIONS["cell-mean"], OPERATIONS["hidden-none"], ops.lstm):
        with ops.use_backend("triton"):
            results = outputs_of(operation, tensors)
        with ops.use_backend("reference"):
            exact = outputs_of(operation, {name: tensor.double() for name, tensor in tensors.items()})
        for name, value in results.items():
            torch.testing.assert_close(value.double(), exact[name], rtol=2e-6, atol=0)


@EVERY_OPERATION
@pytest.mark.parametrize("options", [{}, {"reverse": True, "positions": 3}], ids=str)
def test_padding_affects_neither_outputs_nor_gradients(operation, options):
    positions = None if operation is ops.lstm else options.get("positions")
    lengths = torch.tensor([5, 3, 0], device=DEVICE)
    inside = geometry.frame_mask(lengths, 5)
    results = []
    for padding in (0.0, torch.nan):
        tensors = drawn(batch=3, frames=5, hidden=14, positions=positions)
        tensors["x"][~inside] = padding
        direction = {} if operation is OPERATIONS["both-max"] else {"reverse": options.get("reverse", False)}
        results.append(run(operation, tensors, lengths=lengths, **direction))
    assert not results[0]["gradient of x"][~inside].any()
    assert results[0]["gradient of x"].any()
    for name in OUTPUTS & results[0].keys():
        ends = geometry.num_windows(lengths, 3, 2) if name == "y" else lengths
        y = results[0][name].flatten(2)
        assert torch.equal((y != 0).any(-1), geometry.frame_mask(ends, y.size(1)))
    assert same(*results)


@EVERY_OPERATION
def test_output_gradients_beyond_the_ends_have_no_effect(operation):
    lengths = torch.tensor([5, 3, 0], device=DEVICE)
    leaves = {name: tensor.requires_grad_() for name, tensor in drawn(batch=3, frames=5, hidden=14).items()}
    gradients = []
    for beyond in (0.0, torch.nan):
        with ops.use_backend("triton"):
            outputs = outputs_of(operation, leaves, lengths=lengths)
            upstream = {name: torch.ones_like(y) for name, y in outputs.items()}
            for name, gradient in upstream.items():
                ends = geometry.num_windows(lengths, 3, 2) if name == "y" else lengths
                gradient[~geometry.frame_mask(ends, gradient.size(1))] = beyond
            gradients.append(torch.autograd.grad([*outputs.values()], [*leaves.values()], [*upstream.values()]))
    assert all(map(torch.equal, *gradients))
    assert gradients[0][0].any()


@EVERY_OPERATION
def test_a_frame_that_is_not_finite_affects_only_its_sequence(operation):
    tensors = drawn(batch=3, frames=5, hidden=14)
    clean = run(operation, tensors)
    tensors["x"][1, 3, 0] = torch.nan
    results = run(operation, tensors)
    for name in OUTPUTS & results.keys():
        assert results[name][1].isnan().any()
        assert torch.equal(results[name][[0, 2]], clean[name][[0, 2]])
    # Divergence must show in every parameter's gradient.
    assert all(value.isnan().any() for name, value in results.items() if name.startswith("gradient"))


@EVERY_OPERATION
@pytest.mark.parametrize(("batch", "lengths"), [(0, None), (0, []), (3, [0, 0, 0])])
def test_a_batch_and_its_sequences_may_be_empty(operation, batch, lengths):
    lengths = None if lengths is None else torch.tensor(lengths, dtype=torch.int64, device=DEVICE)
    for positions in (None,) if operation is ops.lstm else (None, 3):
        tensors = drawn(batch=batch, positions=positions)
        results = run(operation, tensors, lengths=lengths)
        assert same(results, run(operation, tensors, backend="reference", lengths=lengths))
        assert not any(value.any() for value in results.values())


@EVERY_OPERATION
def test_a_sequence_gives_the_same_result_alone_and_in_a_batch(operation):
    lengths = torch.tensor([9, 6, 3], device=DEVICE)
    tensors = drawn(batch=3, frames=9, features=6, hidden=14)
    with ops.use_backend("triton"):
        together = outputs_of(operation, tensors, lengths=lengths)
        for row, length in enumerate(lengths.tolist()):
            alone = outputs_of(operation, tensors | {"x": tensors["x"][row : row + 1, :length]})
            for name, y in alone.items():
                # The projection is one product over all frames, and a smaller product may sum in another order.
                torch.testing.assert_close(y[0], together[name][row, : y.size(1)], rtol=1e-6, atol=1e-6)


@EVERY_OPERATION
def test_every_bit_is_the_same_in_every_call(operation):
    tensors = drawn(batch=3, frames=5, hidden=14)
    assert same(run(operation, tensors), run(operation, tensors))


def scattered(tensor):
    """The same values, with gaps between them in memory and the axes in reverse order."""
    view = torch.zeros([2 * size for size in reversed(tensor.shape)], device=DEVICE)
    view = view[(slice(None, None, 2),) * tensor.dim()]
    return view.permute(*reversed(range(tensor.dim()))).copy_(tensor)


@EVERY_OPERATION
def test_strides_do_not_matter(operation):
    tensors = drawn(batch=3, frames=5, hidden=14)
    leaves = {name: scattered(tensor).requires_grad_() for name, tensor in tensors.items()}
    expected = run(operation, tensors)
    with ops.use_backend("triton"):
        outputs = outputs_of(operation, leaves)
    generator = torch.Generator().manual_seed(0)
    upstream = [scattered(torch.randn(y.shape, generator=generator)) for y in outputs.values()]
    gradients = torch.autograd.grad([*outputs.values()], [*leaves.values()], upstream)
    for name, value in zip(leaves, gradients, strict=True):
        torch.testing.assert_close(value, expected[f"gradient of {name}"], rtol=1e-5, atol=1e-5)
    for name, value in outputs.items():
        torch.testing.assert_close(value.detach(), expected[name], rtol=1e-5, atol=1e-5)


@EVERY_OPERATION
@pytest.mark.parametrize("wanted", [["x"], ["bias"], ["weight_hh", "initial_cell"]], ids=str)
def test_gradients_of_some_tensors_equal_those_of_all(operation, wanted):
    tensors = drawn(batch=2, frames=5, hidden=14)
    expected = run(operation, tensors)
    fixed = {name: tensor for name, tensor in tensors.items() if name not in wanted}
    results = run(functools.partial(operation, **fixed), {name: tensors[name] for name in wanted})
    # For windows without a gradient of x, these are summed in another order.
    summed = set() if "x" in wanted or operation is ops.lstm else {"gradient of bias", "gradient of weight_hh"}
    for name in summed & results.keys():
        torch.testing.assert_close(results[name], expected[name], rtol=1e-5, atol=1e-5)
    assert same(*({name: of[name] for name in results.keys() - summed} for of in (results, expected)))
