"""The Triton kernels' numbers equal the reference's in float64.

pytest does not collect this file: ``test_triton`` runs it in separate processes, in Triton's interpreter
(``TRITON_INTERPRET=1``) and, if there is a GPU, compiled. The tiles are small, so that small inputs need several
programs, each with several blocks of units.
"""

import functools
import itertools
import math
import random
from dataclasses import replace

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from check_layer import draw_batch, gradients, randomised
from convrnn import nn, ops
from convrnn.ops import geometry
from convrnn.ops.triton import tiles
from convrnn.ops.triton.tiles import Tile
from operations import OUTPUTS, draw_float32, draw_lengths, outputs_of, same, values_and_gradients

DEVICE = "cpu" if tiles.INTERPRETED else "cuda"
TILES = {
    "resident": Tile("resident", rows=16, units=32, inner=0, warps=4, stages=1, programs=2),
    "projecting": Tile("resident", rows=16, units=32, inner=0, warps=4, stages=1, inputs=16, programs=2),
    "streamed": Tile("streamed", rows=16, units=32, inner=16, warps=4, stages=3),
    "stepwise": Tile("stepwise", rows=16, units=16, inner=16, warps=4, stages=3),
}
SEQUENCES = ("hidden", "cell")
REDUCTIONS = ("last", "mean", "max", "none")
OPTIONAL = ("bias", "weight_peephole", "initial_hidden", "initial_cell")
OPERATIONS = {
    "lstm": ops.lstm,
    "cell-last": functools.partial(ops.windowed_lstm, kernel_size=3, stride=2),
    "hidden-max": functools.partial(ops.windowed_lstm, kernel_size=3, stride=2, reduce="max", sequence="hidden"),
    "cell-mean": functools.partial(ops.windowed_lstm, kernel_size=3, stride=2, reduce="mean"),
    "hidden-none": functools.partial(ops.windowed_lstm, kernel_size=3, stride=2, reduce="none", sequence="hidden"),
}
EVERY_OPERATION = pytest.mark.parametrize(
    ("tile", "operation"),
    [
        # Whole sequences have one kind of tile; "resident" differs from "projecting" only in what it reads.
        pytest.param(tile, operation, id=name if name == "lstm" else f"{name}-{tile}")
        for name, operation in OPERATIONS.items()
        for tile in (["stepwise"] if name == "lstm" else ["projecting", "streamed", "stepwise"])
    ],
    indirect=["tile"],
)
EVERY_TILE = pytest.mark.parametrize("tile", TILES, indirect=True)


@pytest.fixture(autouse=True)
def tile(request, monkeypatch):
    chosen = TILES[getattr(request, "param", "resident")]

    # Frames are projected first where the tile needs it.
    monkeypatch.setattr(tiles, "choose", lambda *sizes: replace(chosen, inputs=0) if sizes[2] is None else chosen)
    monkeypatch.setattr(tiles, "choose_step", lambda *_: TILES["stepwise"])


@pytest.fixture(autouse=True)
def within_bounds(monkeypatch):
    """Makes kernels fail in the interpreter if they read or write outside their tensors; a GPU may not notice it."""
    if not tiles.INTERPRETED:
        return
    from triton.runtime import interpreter

    extents = []

    def check(pointers, mask, size):
        addresses = pointers.data[mask.data.astype(bool)]
        if addresses.size:
            first, last = int(addresses.min()), int(addresses.max()) + size
            assert any(begin <= first and last <= end for begin, end in extents), "beside the tensors"

    def checked(name, mask_at):
        original = getattr(interpreter.InterpreterBuilder, name)

        def method(self, pointers, *rest):
            check(pointers, rest[mask_at], pointers.get_element_ty().primitive_bitwidth // 8)
            return original(self, pointers, *rest)

        monkeypatch.setattr(interpreter.InterpreterBuilder, name, method)

    checked("create_masked_load", 0)
    checked("create_masked_store", 1)
    original = interpreter.GridExecutor._init_args_hst

    def init_args(self, args, kwargs):
        copies = original(self, args, kwargs)
        tensors = [value for value in copies[1].values() if isinstance(value, torch.Tensor)]
        extents[:] = [(t.data_ptr(), t.data_ptr() + t.numel() * t.element_size()) for t in tensors]
        return copies

    monkeypatch.setattr(interpreter.GridExecutor, "_init_args_hst", init_args)


@pytest.fixture(autouse=True)
def language_patched_once(monkeypatch):
    """Saves the time in which the interpreter patches Triton's language in every call of a device function.

    That is a third of the time of all tests. Here it does so only in a module's first call, which has the same effect:
    only the kernel's launch is undone.
    """
    if not tiles.INTERPRETED:
        return
    from triton.runtime import interpreter

    original = interpreter._patch_lang
    patched = set()

    def call(self, *args, **kwargs):
        names = id(self.fn.__globals__)
        if names not in patched:
            original(self.fn)
            patched.add(names)
        return self.rewrite()(*args, **kwargs)

    def launch(fn):
        patched.clear()
        return original(fn)

    monkeypatch.setattr(interpreter.InterpretedFunction, "__call__", call)
    monkeypatch.setattr(interpreter, "_patch_lang", launch)


def drawn(**options):
    return {name: None if t is None else t.to(DEVICE) for name, t in draw_float32(**options).items()}


def run(operation, tensors, backend="triton", **options):
    with ops.use_backend(backend):
        return values_and_gradients(operation, tensors, **options)


def distinct(operation, tensors, options, least):
    """0 where a window's two largest states differ only by rounding, so that either may get the whole gradient."""
    if options.get("reduce") != "max" or options["kernel_size"] == 1:
        return None
    doubles = {name: None if t is None else t.double() for name, t in tensors.items()}
    with ops.use_backend("reference"):
        states = operation(**doubles, **(options | {"reduce": "none"}))
    first, second = states.topk(2, dim=2).values.unbind(2)
    return first - second > least


def errors(results, exact):
    """The largest difference from ``exact`` over its largest magnitude, by name."""
    scales = {name: float(value.abs().max()) or 1e-30 for name, value in exact.items()}
    return {name: float((results[name].double() - exact[name]).abs().max()) / scales[name] for name in exact}


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
    mask = distinct(ops.windowed_lstm, tensors, options, 8 * ROUNDOFF[dtype])
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
        results.append(run(operation, tensors, lengths=lengths, reverse=options.get("reverse", False)))
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


@pytest.mark.parametrize("tile", [name for name in TILES if name != "streamed"], indirect=True)
@pytest.mark.parametrize("name", ["cell-last", "hidden-max"])
def test_many_windows_keep_nothing_for_the_backward_pass(name):
    tensors = {key: tensor.requires_grad_() for key, tensor in drawn(batch=2, frames=9, hidden=18).items()}
    inputs, saved = {tensor.untyped_storage().data_ptr() for tensor in tensors.values()}, []

    def pack(tensor):
        saved.append(tensor.untyped_storage().data_ptr())
        return tensor

    with ops.use_backend("triton"), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        OPERATIONS[name](**tensors)
    assert saved
    assert set(saved) <= inputs


@EVERY_TILE
@pytest.mark.parametrize("name", ["cell-last", "hidden-max"])
def test_a_second_backward_pass_gives_the_same_gradients(name):
    # The first overwrites what the forward pass kept.
    leaves = [tensor.requires_grad_() for tensor in drawn(batch=2, frames=9, hidden=18).values()]
    with ops.use_backend("triton"):
        y = OPERATIONS[name](*leaves)
    first, second = (torch.autograd.grad(y.square().sum(), leaves, retain_graph=True) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


@EVERY_TILE
@pytest.mark.parametrize("reduce", REDUCTIONS)
@pytest.mark.parametrize("autocast", [False, True])
def test_results_do_not_depend_on_whether_gradients_are_wanted(reduce, autocast):
    tensors = drawn(batch=2, frames=9, hidden=18)
    if not autocast:
        tensors = {name: tensor.bfloat16() for name, tensor in tensors.items()}
    options = {"kernel_size": 3, "stride": 2, "sequence": "hidden", "reduce": reduce}
    with ops.use_backend("triton"), torch.autocast(DEVICE, torch.bfloat16, enabled=autocast):
        alone = ops.windowed_lstm(**tensors, **options)
        y = ops.windowed_lstm(**{name: tensor.requires_grad_() for name, tensor in tensors.items()}, **options)
    assert y.requires_grad
    # Two versions of a kernel may differ in which products and sums they fuse.
    torch.testing.assert_close(y, alone, rtol=1e-5, atol=1e-5)


@EVERY_TILE
def test_activation_checkpointing_gives_the_same_gradients():
    leaves = [tensor.requires_grad_() for tensor in drawn(batch=2, frames=9, hidden=18).values()]
    operation = OPERATIONS["cell-last"]
    with ops.use_backend("triton"):
        results = [operation(*leaves), checkpoint(operation, *leaves, use_reentrant=False)]
        first, second = [torch.autograd.grad(y.square().sum(), leaves) for y in results]
    for one, other in zip(first, second, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


@EVERY_TILE
@pytest.mark.parametrize("name", ["cell-last", "hidden-max", "cell-mean", "hidden-none"])
def test_a_call_that_is_traced_gives_the_same_values_and_gradients(name):
    tensors = drawn(batch=2, frames=9, hidden=18)
    expected = run(OPERATIONS[name], tensors)
    with torch.profiler.profile() as profiler:
        found = run(OPERATIONS[name], tensors)
    assert "convrnn::triton_windowed_lstm" in {event.name for event in profiler.events()}
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-6, atol=1e-6)


def test_second_derivatives_are_refused_with_advice():
    for operation in (OPERATIONS["cell-last"], ops.lstm):
        tensors = drawn(batch=2, frames=5, hidden=4)
        x = tensors["x"].requires_grad_()
        with ops.use_backend("triton"):
            cost = sum(y.square().sum() for y in outputs_of(operation, tensors).values())
        (gradient,) = torch.autograd.grad(cost, x, create_graph=True)
        with pytest.raises(RuntimeError, match=r'use_backend\("reference"\)'):
            torch.autograd.grad(gradient.sum(), x)


LAYERS = {
    "clstm": lambda: nn.CLSTM(3, 4, 3, 2, reduce="max"),
    "extended-clstm": lambda: nn.ExtendedCLSTM(3, 4, 3, 2),
    "cblstm": lambda: nn.CBLSTM(3, 4, 3, padding="same", learn_initial_state=True),
    "stacked": lambda: nn.CLSTM(3, 4, 3, 2, num_layers=2, bidirectional=True),
    "blstm": lambda: nn.LSTM(3, 4, bidirectional=True),
}


@pytest.mark.parametrize("make_layer", LAYERS.values(), ids=LAYERS)
def test_layers_and_compiled_layers_equal_the_references(make_layer):
    layer = randomised(make_layer, torch.float32).to(DEVICE)
    x, lengths = (tensor.to(DEVICE) for tensor in draw_batch(3, torch.float32))
    with ops.use_backend("reference"):
        expected = gradients(layer, x, lengths)
    torch._dynamo.reset()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    with ops.use_backend("triton"):
        results = [gradients(layer, x, lengths), gradients(layer, x, lengths, compiled)]
    for result in results:
        for value, wanted in zip(result, expected, strict=True):
            torch.testing.assert_close(value, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("everything", [True, False])
@pytest.mark.parametrize("name", ["triton_windowed_lstm", "triton_lstm", "triton_bilstm"])
def test_registered_operations_keep_pytorchs_rules(name, everything):
    tensors = drawn(batch=2, frames=5, hidden=4, without=() if everything else OPTIONAL)
    leaves = [None if tensor is None else tensor.requires_grad_() for tensor in tensors.values()]
    lengths = torch.tensor([5, 2], device=DEVICE) if everything else None
    options = (3, 2, "hidden", "max") if everything else (2, 1, "cell", "last")
    arguments = {
        "triton_windowed_lstm": (*leaves, lengths, *options, everything, torch.float32),
        "triton_lstm": (*leaves, lengths, everything),
        "triton_bilstm": (
            *(*leaves, lengths),
            *(None if leaf is None else leaf.detach().clone().requires_grad_() for leaf in leaves[1:]),
        ),
    }[name]
    torch.library.opcheck(getattr(torch.ops.convrnn, name).default, arguments)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"weight_hh": torch.zeros(84, 21).half()}, r"weight_hh is torch\.float16, but x is torch\.float32"),
        ({"weight_hh": torch.zeros(85, 21)}, r"weight_hh must be \[4 \* hidden, hidden\], but has shape \[85, 21\]"),
        ({"weight_ih": torch.zeros(2, 84, 5)}, r"weight_ih must have shape \[84, 5\] or \[3, 84, 5\]"),
        ({"bias": torch.zeros(1)}, r"bias must have shape \[84\]"),
        ({"lengths": torch.tensor([11])}, r"lengths must be int64 with shape \[4\]"),
        (
            {"lengths": torch.tensor([11, 1, 1, 1], dtype=torch.int32)},
            r"lengths must be int64 with shape \[4\], but is torch\.int32",
        ),
    ],
    ids=["dtype", "weight_hh", "positions", "bias", "lengths", "lengths-dtype"],
)
def test_an_operation_refuses_wrong_operands(changes, sentence):
    options = {"lengths": None, "kernel_size": 3, "stride": 2, "sequence": "cell", "reduce": "last", "reverse": False}
    options |= {"dtype": torch.float32}
    with pytest.raises(ValueError, match=sentence):
        torch.ops.convrnn.triton_windowed_lstm(**(draw_float32() | options | changes))
