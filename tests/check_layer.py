"""The contract of every layer, checked by one function."""

import copy
import warnings

import torch
from torch.export import Dim, export

from convrnn.ops import geometry

FRAMES = 11
LENGTHS = (11, 7, 2)


def randomised(make_layer, dtype=torch.float64):
    """A layer with no zero among its parameters, so that each of them affects the result."""
    layer = make_layer().to(dtype)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return layer


def draw_batch(in_features, dtype=torch.float64, lengths=LENGTHS):
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(len(lengths), FRAMES, in_features, generator=generator, dtype=torch.float64).to(dtype)
    return x, torch.tensor(lengths)


def output_lengths_of(layer, lengths):
    """Layers that keep the frame rate have no output_lengths."""
    return layer.output_lengths(lengths) if hasattr(layer, "output_lengths") else lengths


def gradients(layer, x, lengths, run=None):
    """Gradients of a scalar that depends on every output, by x and by the parameters."""
    x = x.detach().clone().requires_grad_()
    y = (layer if run is None else run)(x, lengths)
    return [y.detach(), *torch.autograd.grad(y.sin().sum(), [x, *layer.parameters()])]


def check_padding_invariance(layer, x, lengths):
    inside = geometry.frame_mask(lengths, x.size(1))
    clean = gradients(layer, torch.where(inside.unsqueeze(-1), x, 0.0), lengths)
    assert not clean[1][~inside].any()
    assert clean[1][0].any()
    for padding in (-1e30, torch.nan, torch.inf):
        assert all(map(torch.equal, clean, gradients(layer, torch.where(inside.unsqueeze(-1), x, padding), lengths)))


def check_output_lengths(layer, x, lengths):
    y = layer(x, lengths)
    expected = output_lengths_of(layer, lengths)
    assert [output_lengths_of(layer, int(length)) for length in lengths] == expected.tolist()
    assert y.size(1) == output_lengths_of(layer, x.size(1))
    assert torch.equal((y != 0).any(-1), geometry.frame_mask(expected, y.size(1)))


def check_batch_invariance(layer, x, lengths, over_time):
    y = layer(x, lengths)
    # float64: a smaller product may sum in another order.
    tolerance = {"rtol": 1e-12, "atol": 1e-12}
    for row, length in enumerate(lengths.tolist()):
        outputs = output_lengths_of(layer, length) if over_time else 1
        if outputs:
            alone = layer(x[row : row + 1, :length])[0]
            torch.testing.assert_close(alone, y[row, :outputs] if over_time else y[row], **tolerance)
    full = torch.full_like(lengths, x.size(1))
    torch.testing.assert_close(layer(x), layer(x, full), **tolerance)
    assert layer(x[:0], lengths[:0]).shape == (0, *y.shape[1:])


def check_derivatives(layer, x, lengths):
    x = x[:2, :6].detach().requires_grad_()
    lengths = torch.tensor([6, 5])
    names = [name for name, _ in layer.named_parameters()]

    def call(x, *parameters):
        return torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), (x, lengths))

    # Random projections of the Jacobian: one wrong entry shows with probability 1.
    assert torch.autograd.gradcheck(call, (x, *layer.parameters()), fast_mode=True)
    assert torch.autograd.gradgradcheck(call, (x, *layer.parameters()), fast_mode=True)


def check_compile(layer, x, lengths, backend="aot_eager"):
    torch._dynamo.reset()
    compiled = torch.compile(layer, backend=backend, fullgraph=True)
    # The same arithmetic, perhaps fused or in another order.
    tolerance = {"rtol": 1e-10, "atol": 1e-10} if x.dtype == torch.float64 else {"rtol": 1e-4, "atol": 1e-5}
    for ours, theirs in zip(gradients(layer, x, lengths), gradients(layer, x, lengths, compiled), strict=True):
        torch.testing.assert_close(theirs, ours, **tolerance)


def check_export(layer, x, lengths):
    free = ({0: Dim.AUTO, 1: Dim.AUTO}, {0: Dim.AUTO})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = export(layer, (x, lengths), dynamic_shapes=free)
    # Another batch size and another number of frames than it was traced with.
    longer = torch.cat([x, x.flip(1)], dim=1)[[0, 1, 2, 0, 1]]
    lengths = torch.tensor([22, 3, 14, 9, 22])
    torch.testing.assert_close(program.module()(longer, lengths), layer(longer, lengths), rtol=1e-12, atol=1e-12)


def check_copies(layer, make_layer, x, lengths):
    y = layer(x, lengths)
    copied = copy.deepcopy(layer)
    restored = make_layer().to(x.dtype)
    restored.load_state_dict(layer.state_dict())
    assert torch.equal(copied(x, lengths), y)
    assert torch.equal(restored(x, lengths), y)
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.zero_()
    assert torch.equal(layer(x, lengths), y)


def check_precisions(make_layer, in_features, lengths):
    x, lengths = draw_batch(in_features, lengths=lengths)
    exact = randomised(make_layer)(x, lengths)
    # Roundings of 2^-24 and 2^-9 in each of about ten steps on values of size 1, and in the inputs.
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.bfloat16, 0.06)):
        y = randomised(make_layer, dtype)(x.to(dtype), lengths)
        assert y.dtype == dtype
        torch.testing.assert_close(y.double(), exact, rtol=tolerance, atol=tolerance)
    layer = randomised(make_layer, torch.float32)
    for dtype in (torch.float32, torch.bfloat16):
        given = x.to(dtype).requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = layer(given, lengths)
        torch.testing.assert_close(y.double(), exact, rtol=0.06, atol=0.06)
        y.float().sum().backward()
        assert given.grad.isfinite().all()
        assert all(parameter.grad.dtype == torch.float32 for parameter in layer.parameters())


def check_without_values(layer, x, lengths):
    """On a device without values a layer gives shapes: it reads none, which on a GPU would mean waiting for it."""
    y = layer(x, lengths)
    on_meta = copy.deepcopy(layer).to("meta")(x.to("meta").requires_grad_(), lengths.to("meta"))
    assert on_meta.shape == y.shape
    on_meta.sum().backward()


def check_layer(make_layer, in_features, *, over_time=True, lengths=LENGTHS, compiles=True):
    """Check the whole contract on the layer that ``make_layer()`` returns.

    Args:
        make_layer: A function without arguments.
        in_features: Values in a frame.
        over_time: False for a layer that gives one output for a whole sequence.
        lengths: Lengths of the sequences to run it on; the first is ``FRAMES``.
        compiles: Whether to trace it too, which takes the longest.
    """
    layer = randomised(make_layer)
    x, batch_lengths = draw_batch(in_features, lengths=lengths)
    check_padding_invariance(layer, x, batch_lengths)
    if over_time:
        check_output_lengths(layer, x, batch_lengths)
    check_batch_invariance(layer, x, batch_lengths, over_time)
    check_derivatives(layer, x, batch_lengths)
    check_copies(layer, make_layer, x, batch_lengths)
    check_without_values(layer, x, batch_lengths)
    check_precisions(make_layer, in_features, lengths)
    if compiles:
        check_compile(layer, x, batch_lengths)
        check_export(layer, x, batch_lengths)
