"""torch.compile on a pairwise selection of the options, and with the default compiler if there is one."""

import itertools
import shutil

import pytest
import torch

from check_layer import check_compile, draw_batch, randomised
from convrnn import nn

OPTIONS = {
    "cell": [
        {"rnn_type": "rnn", "nonlinearity": "relu"},
        {"rnn_type": "gru", "reset_after": True},
        {"rnn_type": "lstm", "sequence": "hidden", "peepholes": False},
        {"rnn_type": "lstm", "sequence": "cell"},
    ],
    "reduce": ["last", "mean", "max"],
    "projection": [False, True],
    "num_layers": [1, 2],
    "bidirectional": [False, True],
    "position_weights": [False, True],
    "learn_initial_state": [False, True],
    "padding": ["valid", "same"],
    "bias": [True, False],
    "with_lengths": [True, False],
}


def pairs_of(choice):
    """Every pair of (option, position of its value) in a choice, given as one position per option."""
    return set(itertools.combinations(enumerate(choice), 2))


def pairwise(options):
    """A small set of choices that covers every pair of values of two options, built greedily."""
    sizes = [range(len(values)) for values in options.values()]
    missing = set().union(*(pairs_of(choice) for choice in itertools.product(*sizes)))
    chosen = []
    while missing:
        best = max(itertools.product(*sizes), key=lambda choice: len(pairs_of(choice) & missing))
        missing -= pairs_of(best)
        chosen.append({name: values[i] for (name, values), i in zip(options.items(), best, strict=True)})
    return chosen


CHOICES = pairwise(OPTIONS)


def test_the_choices_cover_all_pairs_and_are_few():
    for (first, its), (second, others) in itertools.combinations(OPTIONS.items(), 2):
        for value, other in itertools.product(its, others):
            assert any(choice[first] == value and choice[second] == other for choice in CHOICES)
    # Twelve is the least: four cells times three reductions.
    assert 12 <= len(CHOICES) <= 16


@pytest.mark.parametrize("choice", CHOICES, ids=lambda choice: "-".join(str(v) for v in choice["cell"].values()))
def test_a_compiled_layer_equals_the_layer(choice):
    options = {name: value for name, value in choice.items() if name not in ("cell", "with_lengths")} | choice["cell"]
    layer = randomised(lambda: nn.ConvRNN(3, 4, 2, 2, **options))
    x, lengths = draw_batch(3)
    check_compile(layer, x, lengths if choice["with_lengths"] else None)


@pytest.fixture(scope="module")
def compiler_cache(tmp_path_factory):
    """The compiler's files in a folder of the tests, and no pool of compiler processes."""
    with pytest.MonkeyPatch.context() as patch, torch._inductor.config.patch(compile_threads=1):
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path_factory.mktemp("inductor")))
        yield


@pytest.mark.skipif(not any(map(shutil.which, ("gcc", "cc", "clang"))), reason="needs a C compiler")
@pytest.mark.usefixtures("compiler_cache")
@pytest.mark.parametrize(
    "make_layer",
    [
        # Takes as long as all the other compiled layers together.
        pytest.param(lambda: nn.CLSTM(3, 4, 2, 2), marks=pytest.mark.slow, id="clstm"),
        pytest.param(lambda: nn.ConvFeatures(3, 4, 3, 2, padding="same", nonlinearity="tanh"), id="conv-same"),
        pytest.param(lambda: nn.LSTM(3, 4, bidirectional=True), id="blstm"),
        pytest.param(lambda: nn.GRU(3, 4, reset_after=True), id="gru"),
    ],
)
def test_a_layer_compiled_by_the_default_compiler_equals_the_layer(make_layer):
    check_compile(randomised(make_layer, torch.float32), *draw_batch(3, torch.float32), backend="inductor")


def test_compiled_layers_clamp_lengths_out_of_range():
    layer = randomised(lambda: nn.CLSTM(3, 4, 3, padding="same"))
    x, _ = draw_batch(3)
    torch._dynamo.reset()
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, torch.tensor([99, 4, -3])), layer(x, torch.tensor([11, 4, 0])))


def test_one_compiled_graph_serves_every_batch_and_length():
    layer = nn.CLSTM(3, 4, 3, padding="same")
    torch._dynamo.reset()
    counter = torch._dynamo.testing.CompileCounter()
    compiled = torch.compile(layer, backend=counter, fullgraph=True, dynamic=True)
    for batch, frames in ((2, 9), (5, 13), (3, 40)):
        x = torch.zeros(batch, frames, 3)
        assert compiled(x, torch.full((batch,), frames)).shape == (batch, frames, 4)
    assert counter.frame_count == 1
