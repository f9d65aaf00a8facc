"""The native kernel on bfloat16 and float16, and under autocast: computed in float32, rounded once."""

import pytest
import torch

from check_layer import draw_batch, randomised
from convrnn import nn, ops
from native_kernels import EVERY_OPERATION, Recorder, needs_library
from operations import NATIVE, cell_of, draw_float32, is_windowed, outputs_of, same, values_and_gradients

pytestmark = needs_library

WINDOWED = {name: operation for name, operation in NATIVE.items() if is_windowed(operation)}
WHOLE = {name: operation for name, operation in NATIVE.items() if not is_windowed(operation)}
NARROW = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])


def results(operation, tensors, dtype, upstream_dtype, **options):
    """Outputs and gradients by name for tensors and gradients of the outputs of one dtype.

    The gradients of the outputs are rounded to ``upstream_dtype`` first.
    """
    leaves = {name: tensor.detach().to(dtype).requires_grad_() for name, tensor in tensors.items()}
    outputs = outputs_of(operation, leaves, **options)
    generator = torch.Generator().manual_seed(0)
    upstream = [torch.randn(y.shape, generator=generator).to(upstream_dtype).to(y.dtype) for y in outputs.values()]
    gradients = torch.autograd.grad(list(outputs.values()), list(leaves.values()), upstream)
    return outputs | {f"gradient of {name}": each for name, each in zip(leaves, gradients, strict=True)}


@NARROW
@EVERY_OPERATION
@pytest.mark.parametrize("reverse", [False, True])
def test_results_and_gradients_are_rounded_once(operation, dtype, reverse):
    lengths = torch.tensor([11, 6, 2, 0])
    tensors = {name: tensor.to(dtype) for name, tensor in draw_float32(operation).items()}
    with ops.use_backend("native"):
        found = results(operation, tensors, dtype, dtype, lengths=lengths, reverse=reverse)
    with ops.use_backend("reference"):
        exact = results(operation, tensors, torch.float64, dtype, lengths=lengths, reverse=reverse)
    for name, value in found.items():
        assert value.dtype == dtype
        # Half a unit in the last place, and what float32 has rounded before, relative to the largest value.
        beside = (
            1e-5 * float(exact[name].detach().abs().max()) + torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps
        )
        allowed = torch.finfo(dtype).eps / 2 * exact[name].abs() + beside
        assert bool(((value.double() - exact[name]).abs() <= allowed).all()), name


@NARROW
@EVERY_OPERATION
def test_all_that_is_saved_is_float32(operation, dtype):
    tensors = {name: tensor.to(dtype).requires_grad_() for name, tensor in draw_float32(operation).items()}
    with Recorder() as recorder:
        outputs_of(operation, tensors)
    [(_, _, kept)] = recorder.native_calls()
    assert {tensor.dtype for tensor in kept} == {torch.float32}


@NARROW
@EVERY_OPERATION
def test_other_dtypes_beside_x_are_refused_outside_autocast(operation, dtype):
    tensors = draw_float32(operation)
    with pytest.raises(ValueError, match=f"weight_hh is {dtype}, but x is torch.float32; .*must be the same"):
        operation(**tensors | {"weight_hh": tensors["weight_hh"].to(dtype)})
    with pytest.raises(ValueError, match=f"weight_ih is torch.float32, but x is {dtype}; .*must be the same"):
        operation(**tensors | {"x": tensors["x"].to(dtype)})


# Autocast.


@NARROW
@EVERY_OPERATION
@pytest.mark.parametrize("x_dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("parameters_dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_dtypes_under_autocast_are_the_references(operation, dtype, x_dtype, parameters_dtype):
    tensors = {name: tensor.to(parameters_dtype) for name, tensor in draw_float32(operation).items()}
    tensors["x"] = tensors["x"].to(x_dtype)
    dtypes = []
    for backend in ("native", "reference"):
        with ops.use_backend(backend), torch.autocast("cpu", dtype=dtype), Recorder() as recorder:
            dtypes.append([y.dtype for y in outputs_of(operation, tensors).values()])
        assert bool(recorder.native_calls()) == (backend == "native")
    assert dtypes[0] == dtypes[1]


@NARROW
@EVERY_OPERATION
def test_float32_tensors_keep_their_precision_under_autocast(operation, dtype):
    tensors = draw_float32(operation)
    leaves = {name: tensor.requires_grad_() for name, tensor in tensors.items()}
    with torch.autocast("cpu", dtype=dtype):
        narrow = outputs_of(operation, leaves)
    exact = outputs_of(operation, leaves)
    for name, value in narrow.items():
        assert torch.equal(value, exact[name].to(value.dtype))
    # The backward pass runs outside autocast here.
    gradients = [
        torch.autograd.grad([y.float().sum() for y in outputs.values()], list(leaves.values()))
        for outputs in (narrow, exact)
    ]
    assert all(map(torch.equal, *gradients))


@EVERY_OPERATION
def test_gradients_under_autocast_have_the_dtypes_of_their_tensors(operation):
    leaves = {name: tensor.requires_grad_() for name, tensor in draw_float32(operation).items()}
    leaves["x"] = leaves["x"].detach().bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = outputs_of(operation, leaves)
    sum(y.float().sum() for y in outputs.values()).backward()
    assert all(leaf.grad.dtype == leaf.dtype for leaf in leaves.values())
    assert all(leaf.grad.any() for leaf in leaves.values())


@pytest.mark.parametrize("operation", WINDOWED.values(), ids=WINDOWED)
@pytest.mark.parametrize("name", ["x", "bias"])
def test_float64_under_autocast_runs_on_the_reference(operation, name):
    tensors = draw_float32(operation)
    tensors[name] = tensors[name].double()
    with (
        torch.autocast("cpu", dtype=torch.bfloat16),
        Recorder() as recorder,
        pytest.raises(RuntimeError, match="dtype"),
    ):
        operation(**tensors)
    assert not recorder.native_calls()


@pytest.mark.parametrize("operation", WHOLE.values(), ids=WHOLE)
def test_whole_sequences_keep_the_precision_of_the_parameters_under_autocast(operation):
    tensors = draw_float32(operation)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = values_and_gradients(operation, tensors)
    assert same(found, values_and_gradients(operation, tensors))


@pytest.mark.parametrize(
    "make_layer",
    [lambda: nn.CGRU(3, 4, 3, 2, reduce="max"), lambda: nn.CLSTM(3, 4, 3), lambda: nn.GRU(3, 4)],
    ids=["cgru", "clstm", "gru"],
)
def test_compiled_layers_equal_the_layers_under_autocast(make_layer):
    layer = randomised(make_layer, torch.float32)
    x, lengths = draw_batch(3, torch.float32)
    torch._dynamo.reset()
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)

    def run(layer):
        narrow = x.bfloat16().requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = layer(narrow, lengths)
        return [y, *torch.autograd.grad(y.float().sum(), [narrow, *layer.parameters()])]

    for found, expected in zip(run(compiled), run(layer), strict=True):
        assert found.dtype == expected.dtype
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_results_of_cells_under_autocast():
    """Those of the simple network are of autocast's dtype, since it adds nothing to its products."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        dtypes = {cell_of(each): each(**draw_float32(each)).dtype for each in WINDOWED.values()}
    assert dtypes == {"rnn": torch.bfloat16, "gru": torch.float32, "lstm": torch.float32}
