"""The native kernels' numbers equal the reference's, as accurately in float32 as those of eager PyTorch.

Every instruction set of this machine is tested.
"""

import functools
import itertools
import math
import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from convrnn import ops
from convrnn.ops.native import windowed
from native_kernels import (
    EVERY_OPERATION,
    EVERY_SET,
    INSTRUCTION_SETS,
    Case,
    check_against_the_reference,
    needs_library,
)
from operations import (
    GATES,
    NATIVE,
    OUTPUTS,
    WINDOWED,
    cell_of,
    draw_float32,
    draw_lengths,
    is_windowed,
    native_and_reference,
    on,
    outputs_of,
    values_and_gradients,
)
from operations import SEQUENCES as WHOLE

pytestmark = needs_library

SEQUENCES = ("hidden", "cell")
REDUCTIONS = ("last", "mean", "max", "none")
OPTIONAL = ("bias", "bias_hn", "weight_peephole", "initial_hidden", "initial_cell")
CELL_OPTIONS = {
    "rnn": [{"nonlinearity": name} for name in ("tanh", "sigmoid", "relu")],
    "gru": [{"reset_after": False}, {"reset_after": True}],
    "lstm": [{}],
}


def test_instruction_sets_are_known_ones_with_the_best_first():
    known = ("avx512", "avx2", "portable")
    assert tuple(name for name in known if name in INSTRUCTION_SETS) == INSTRUCTION_SETS
    assert "portable" in INSTRUCTION_SETS


WINDOWED_SIZES = [
    # batch, frames, features, hidden, kernel_size, stride
    (1, 1, 1, 1, 1, 1),
    (3, 11, 5, 1, 4, 3),
    (33, 50, 3, 7, 5, 2),
    (5, 37, 26, 100, 5, 2),
    (2, 23, 13, 129, 3, 7),
    (7, 9, 17, 100, 9, 1),
    (4, 13, 33, 31, 1, 1),
    (13, 19, 40, 16, 2, 1),
    (2, 23, 5, 113, 8, 3),
    (3, 31, 26, 17, 12, 2),
    (2, 66, 1, 3, 30, 3),
]
SEQUENCE_SIZES = [
    # batch, frames, features, hidden
    (1, 1, 1, 1),
    (2, 13, 9, 1),
    (33, 9, 5, 7),
    (33, 6, 11, 100),
    (3, 7, 100, 256),
    (1, 200, 26, 100),
    (9, 5, 3, 113),
]


def sampled_cases():
    """Every cell, option, sequence, reduction and direction at every size; which tensors there are is drawn."""
    chance = random.Random(0)

    def case(operation, size, options, used=None):
        names = ("batch", "frames", "features", "hidden")
        sizes = dict(zip(names, size, strict=True)) | {"positions": chance.choice([None, options.get("kernel_size")])}
        without = {name for name in OPTIONAL if chance.random() < 0.5}
        lengths = draw_lengths(sizes["batch"], sizes["frames"]) if chance.random() < 0.5 else None
        return Case(operation, sizes, options, without, lengths, used)

    for cell, size in itertools.product(CELL_OPTIONS, WINDOWED_SIZES):
        sequences = [{"sequence": name} for name in SEQUENCES] if cell == "lstm" else [{}]
        for own, sequence, reduce, reverse in itertools.product(
            CELL_OPTIONS[cell], sequences, REDUCTIONS, [False, True]
        ):
            options = {"kernel_size": size[4], "stride": size[5], "reduce": reduce, "reverse": reverse}
            operation = functools.partial(WINDOWED[cell], **own)
            yield (f"windowed_{cell}", size), case(operation, size[:4], options | sequence)
    for cell, size in itertools.product(CELL_OPTIONS, SEQUENCE_SIZES):
        results = [SEQUENCES, ("hidden",), ("cell",)] if cell == "lstm" else [("hidden",)]
        for own, used, reverse in itertools.product(CELL_OPTIONS[cell], results, [False, True]):
            operation = functools.partial(WHOLE[cell], **own)
            yield (cell, size), case(operation, size, {"reverse": reverse}, used)


CASES = {}
for _key, _case in sampled_cases():
    CASES.setdefault(_key, []).append(_case)


@EVERY_SET
@pytest.mark.parametrize("size", CASES, ids=lambda size: "-".join(map(str, (size[0], *size[1]))))
def test_values_and_gradients_equal_the_references_in_float64(instruction_set, size):
    wrong = [
        (name, largest, case)
        for case in CASES[size]
        for name, (largest, _, _) in case.errors(instruction_set).items()
        # Float32 rounds each of about a thousand terms by up to 6e-8. The comparison is false for NaN.
        if not largest <= 1e-5
    ]
    assert not wrong


@EVERY_SET
@pytest.mark.parametrize("kind", sorted({kind for kind, _ in CASES}))
def test_rounding_is_no_larger_than_eager_pytorchs(instruction_set, kind):
    def root_mean_squares(instruction_set):
        sums = {}
        for case in itertools.chain.from_iterable(cases for key, cases in CASES.items() if key[0] == kind):
            for name, (_, squares, count) in case.errors(instruction_set).items():
                total, number = sums.get(name, (0.0, 0))
                sums[name] = total + squares, number + count
        return {name: math.sqrt(total / number) for name, (total, number) in sums.items()}

    ours, eager = root_mean_squares(instruction_set), root_mean_squares(None)
    assert not {name: (error, eager[name]) for name, error in ours.items() if not error <= 1.5 * eager[name] + 1e-9}


ANY_CALL = {
    "lengths": st.lists(st.integers(0, 9), min_size=1, max_size=7),
    "with_lengths": st.booleans(),
    "hidden": st.integers(1, 40),
    "features": st.integers(1, 20),
    "reverse": st.booleans(),
    "without": st.sets(st.sampled_from(OPTIONAL)),
    "instruction_set": st.deferred(lambda: st.sampled_from(INSTRUCTION_SETS)),
    "seed": st.integers(0, 99),
}


CELLS = st.sampled_from([(cell, own) for cell, options in CELL_OPTIONS.items() for own in options])


@given(
    **ANY_CALL,
    kind=CELLS,
    kernel_size=st.integers(1, 5),
    stride=st.integers(1, 7),
    sequence=st.sampled_from(SEQUENCES),
    reduce=st.sampled_from(REDUCTIONS),
    position_weights=st.booleans(),
)
def test_windows_equal_the_references_for_any_call(
    kind, lengths, with_lengths, hidden, features, without, instruction_set, seed, position_weights, sequence, **options
):
    (cell, own), kernel_size = kind, options["kernel_size"]
    if cell == "lstm":
        options["sequence"] = sequence
    sizes = {"batch": len(lengths), "frames": max(kernel_size, *lengths), "features": features, "hidden": hidden}
    sizes["positions"] = kernel_size if position_weights else None
    lengths = torch.tensor(lengths) if with_lengths else None
    operation = functools.partial(WINDOWED[cell], **own)
    check_against_the_reference(Case(operation, sizes, options, without, lengths, seed=seed), instruction_set)


@given(**ANY_CALL, kind=CELLS, used=st.sampled_from([SEQUENCES, ("hidden",), ("cell",)]))
def test_whole_sequences_equal_the_references_for_any_call(
    kind, lengths, with_lengths, hidden, features, without, instruction_set, seed, used, **options
):
    cell, own = kind
    sizes = {"batch": len(lengths), "frames": max(1, *lengths), "features": features, "hidden": hidden}
    lengths = torch.tensor(lengths) if with_lengths else None
    operation, used = functools.partial(WHOLE[cell], **own), used if cell == "lstm" else None
    check_against_the_reference(Case(operation, sizes, options, without, lengths, used, seed), instruction_set)


@EVERY_SET
@EVERY_OPERATION
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("scale", [1e-3, 1e-6])
def test_small_states_keep_their_relative_accuracy(instruction_set, operation, sign, scale):
    # Of one sign, so that no sum cancels.
    tensors = {name: t.abs() for name, t in draw_float32(operation, frames=9, features=13, hidden=33).items()}
    for name, tensor in tensors.items():
        tensor *= (1 if name == "x" else scale) * (1 if name.startswith("weight") else sign)

    def states(instruction_set, dtype=torch.float32):
        with on(instruction_set):
            outputs = outputs_of(operation, {name: t.to(dtype) for name, t in tensors.items()})
        return torch.cat(list(outputs.values())).double()

    exact = states(None, torch.float64)
    # With relu, states of negative sums are 0.
    scale = exact.abs().clamp(min=1e-30)
    ours, eager = (float(((states(backend) - exact) / scale).abs().max()) for backend in (instruction_set, None))
    assert ours <= 2 * eager + 1e-6


@EVERY_SET
@EVERY_OPERATION
@pytest.mark.parametrize("magnitude", [9.0, 20.0, 50.0, 87.0, 88.5, 104.0, 1000.0, 3e38])
def test_saturated_gates_equal_the_references(instruction_set, operation, magnitude):
    if operation is NATIVE["windowed-rnn"]:
        pytest.skip("relu does not saturate")
    tensors = draw_float32(operation, frames=7, features=5, hidden=16)
    # Every combination of signs of the gates, one per unit.
    signs = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=4))).T
    tensors["bias"] = (magnitude * signs[: GATES[cell_of(operation)]]).flatten()
    results, expected = native_and_reference(instruction_set, operation, tensors)
    assert all(value.isfinite().all() for value in results.values())
    for name, value in results.items():
        # The difference of a gate from 1 is rounded to multiples of 6e-8, and gradients are sums of such differences.
        tolerance = 1e-6 if name in OUTPUTS else 1e-5
        torch.testing.assert_close(value, expected[name], rtol=tolerance, atol=tolerance)


@EVERY_SET
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(
    "operation",
    [
        functools.partial(ops.windowed_lstm, sequence="hidden"),
        functools.partial(ops.windowed_lstm, sequence="cell"),
        functools.partial(ops.windowed_gru, reset_after=False),
        functools.partial(ops.windowed_gru, reset_after=True),
        functools.partial(ops.windowed_rnn, nonlinearity="tanh"),
        functools.partial(ops.windowed_rnn, nonlinearity="sigmoid"),
    ],
    ids=lambda operation: f"{operation.func.__name__}-{operation.keywords}",
)
def test_equal_states_share_the_gradient_of_their_maximum(instruction_set, operation, reverse):
    tensors = draw_float32(operation, features=5, hidden=19, without={"initial_hidden", "initial_cell"})
    for name, tensor in tensors.items():
        if name != "x" and tensor is not None:
            # Then the state of every frame is the same.
            tensor *= 0
    options = {"kernel_size": 4, "stride": 3, "reduce": "max", "reverse": reverse}
    results, expected = native_and_reference(instruction_set, operation, tensors, **options)
    assert expected["gradient of weight_ih"].any()
    for name, value in results.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-6)


@EVERY_SET
@pytest.mark.parametrize("name", [name for name, operation in NATIVE.items() if is_windowed(operation)])
@pytest.mark.parametrize("kernel_size", [1, 2, 5, 8])
def test_how_much_is_saved_changes_no_gradient(instruction_set, name, kernel_size, monkeypatch):
    operation = NATIVE[name]
    tensors = draw_float32(operation, frames=13, features=7, hidden=37)
    options = {"kernel_size": kernel_size, "stride": 1, "lengths": torch.tensor([13, 12, 8, 0])}
    results = []
    for steps in range(1, kernel_size + 1):
        monkeypatch.setattr(windowed, "saved_steps", lambda *_, steps=steps: steps)
        with on(instruction_set):
            results.append(values_and_gradients(operation, tensors, **options))
    for other in results[1:]:
        for name, value in other.items():
            # Gates that are computed again differ by rounding at most.
            torch.testing.assert_close(value, results[0][name], rtol=1e-5, atol=1e-6)


def check_with_nan_and_infinity(results, expected, names):
    """Checks that NaN and infinity are in the same places as in the reference, and that the other values agree."""
    for name in names & results.keys():
        torch.testing.assert_close(results[name], expected[name], rtol=1e-5, atol=1e-5, equal_nan=True)


@EVERY_SET
@EVERY_OPERATION
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("values", [[torch.nan], [torch.inf], [-torch.inf], [torch.inf, -torch.inf]], ids=str)
def test_a_frame_that_is_not_finite_affects_only_its_windows(instruction_set, operation, reverse, values):
    tensors = draw_float32(operation, batch=3, frames=11, features=13, hidden=21)
    with on(instruction_set):
        clean = values_and_gradients(operation, tensors, reverse=reverse)
    tensors["x"][1, 4, -len(values) :] = torch.tensor(values)
    results, expected = native_and_reference(instruction_set, operation, tensors, reverse=reverse)
    check_with_nan_and_infinity(results, expected, OUTPUTS | {"gradient of x"})
    # Divergence must show in every parameter's gradient.
    for name in results:
        assert bool(results[name].isnan().any()) == bool(expected[name].isnan().any()), name
    for name in OUTPUTS & results.keys():
        assert torch.equal(results[name][[0, 2]], clean[name][[0, 2]])


@EVERY_SET
@EVERY_OPERATION
@pytest.mark.parametrize("value", [torch.inf, -torch.inf, torch.nan])
@pytest.mark.parametrize(
    ("name", "without"),
    [
        *((name, ()) for name in ("weight_ih", "weight_hh", *OPTIONAL)),
        *((name, ("initial_hidden", "initial_cell")) for name in ("weight_ih", "weight_hh", "bias", "weight_peephole")),
    ],
    ids=lambda value: value if isinstance(value, str) else "zeros" if value else "learned",
)
def test_a_parameter_that_is_not_finite_gives_the_references_result(instruction_set, operation, name, without, value):
    hidden, vector = 21, name in ("bias_hn", "initial_hidden", "initial_cell")
    if name not in draw_float32(operation):
        pytest.skip(f"has no {name}")
    for gate in range(1 if vector else 3 if name == "weight_peephole" else GATES[cell_of(operation)]):
        tensors = draw_float32(operation, batch=3, frames=7, features=13, hidden=hidden, without=without)
        place = {"bias": (gate * hidden + 3,), "weight_peephole": (gate, 3)}.get(name, (gate * hidden + 3, 5))
        place = (3,) if vector else place
        tensors[name][place] = value
        check_with_nan_and_infinity(*native_and_reference(instruction_set, operation, tensors), OUTPUTS)


@EVERY_SET
def test_an_unused_gate_gets_no_gradient_from_a_frame_that_is_not_finite(instruction_set):
    tensors = draw_float32(batch=1, frames=3, features=5, hidden=21)
    tensors["x"][0, 1] = torch.nan
    # After the one step of these windows neither h nor its gate o is needed.
    results, expected = native_and_reference(instruction_set, ops.windowed_lstm, tensors, kernel_size=1)
    assert results["gradient of weight_peephole"][:2].isnan().all()
    for found in (results, expected):
        assert not found["gradient of weight_peephole"][2].any()
        assert not found["gradient of bias"][3 * 21 :].any()
