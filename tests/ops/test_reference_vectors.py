"""Numbers from the two public implementations of the paper's layers, whose origin fixtures/README.md documents."""

from pathlib import Path

import numpy as np
import pytest
import torch

from convrnn import ops
from tensorflow_cases import layer_of

FIXTURES = Path(__file__).parent.parent / "fixtures"


def load(name: str) -> dict[str, torch.Tensor]:
    with np.load(FIXTURES / f"{name}.npz") as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays}


TF1_CRNN = load("tf1_crnn")
BLOCKS_LSTM = load("blocks_lstm")
BLOCKS_ADAM = load("blocks2016_adam")
CASES = sorted({key.split("|")[0] for key in TF1_CRNN})


def tensorflow_parameters(rnn_type: str, weights: dict[str, torch.Tensor], features: int) -> dict[str, torch.Tensor]:
    """Weights of one direction in PyTorch's layout."""
    if rnn_type == "gru":
        kernel = torch.cat([weights["w_ru"], weights["w_c"]], dim=1)
        bias = torch.cat([weights["b_ru"], weights["b_c"]])
    else:
        kernel, bias = weights["kernel"], weights["bias"]
    if rnn_type == "lstm":

        def in_our_order(gates: torch.Tensor) -> torch.Tensor:
            i, c, f, o = gates.chunk(4, dim=-1)
            return torch.cat([i, f, c, o], dim=-1)

        kernel, bias = in_our_order(kernel), in_our_order(bias)
        hidden = len(bias) // 4
        # TensorFlow's cell adds this to the forget gate by itself.
        bias[hidden : 2 * hidden] += 1.0
    return {"weight_ih": kernel[:features].T, "weight_hh": kernel[features:].T, "bias": bias}


def test_the_vectors_hold_every_kind():
    kinds = {tuple(case.split("_")[:3]) for case in CASES}
    directions, paddings = ("uni", "bi"), ("valid", "same")
    assert kinds == {(t, d, p) for t in ("simple", "lstm", "gru") for d in directions for p in paddings}


@pytest.mark.parametrize("case", CASES)
def test_layers_equal_the_authors_tensorflow_function(case):
    arrays = {key.split("|")[1]: value for key, value in TF1_CRNN.items() if key.split("|")[0] == case}
    x, y = arrays["x"], arrays["y"]
    rnn_type, layer = layer_of(case, arrays)
    state = {}
    for prefix, suffix in (("fw", "_l0"), ("bw", "_l0_reverse")):
        weights = {key.split(".")[1]: value.clone() for key, value in arrays.items() if key.startswith(prefix)}
        if weights:
            parameters = tensorflow_parameters(rnn_type, weights, x.size(2))
            state |= {name + suffix: value for name, value in parameters.items()}
    layer.load_state_dict(state)
    # float32 against float32: a few rounding errors of 6e-8 in each of five steps, far from 1e-5.
    torch.testing.assert_close(layer(x), y, rtol=0, atol=1e-5)


@pytest.mark.parametrize("path", ["eager", "registered"])
def test_states_and_all_gradients_equal_those_of_blocks(path):
    v = BLOCKS_LSTM
    inputs = {
        "x": v["x"].transpose(0, 1),
        "W_input": v["W_input"].T,
        "W_state": v["W_state"].T,
        "b": v["b"],
        "peepholes": torch.stack([v["W_cell_to_in"], v["W_cell_to_forget"], v["W_cell_to_out"]]),
        "initial_state": v["initial_state"],
        "initial_cells": v["initial_cells"],
    }
    inputs = {name: tensor.clone().requires_grad_() for name, tensor in inputs.items()}
    hidden, cell = (
        ops.lstm(*inputs.values())
        if path == "eager"
        else torch.ops.convrnn.lstm(*inputs.values(), lengths=None, reverse=False)
    )
    cost = (hidden.sin() * hidden).sum() + (cell.cos() * cell).sum()
    cost.backward()
    expected = {
        "x": v["g_x"].transpose(0, 1),
        "W_input": v["g_W_input"].T,
        "W_state": v["g_W_state"].T,
        "b": v["g_b"],
        "peepholes": torch.stack([v["g_W_cell_to_in"], v["g_W_cell_to_forget"], v["g_W_cell_to_out"]]),
        "initial_state": v["g_initial_state"],
        "initial_cells": v["g_initial_cells"],
    }
    # float64 on both sides: sums of about a hundred terms of size 1, each exact to 1e-16.
    torch.testing.assert_close(hidden, v["h"].transpose(0, 1), rtol=0, atol=1e-10)
    torch.testing.assert_close(cell, v["c"].transpose(0, 1), rtol=0, atol=1e-10)
    torch.testing.assert_close(cost, v["cost"], rtol=1e-12, atol=1e-10)
    for name, gradient in expected.items():
        torch.testing.assert_close(inputs[name].grad, gradient, rtol=0, atol=1e-10, msg=lambda m, n=name: f"{n}: {m}")


def adam_steps(betas: tuple[float, float]) -> torch.Tensor:
    parameter = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([parameter], lr=0.002, betas=betas, eps=1e-8)
    steps = []
    for gradient in BLOCKS_ADAM["grads"]:
        before = parameter.detach().clone()
        parameter.grad = gradient.clone()
        optimizer.step()
        steps.append(before - parameter.detach())
    return torch.stack(steps)


def test_adam_with_the_usual_decays_is_what_the_paper_ran():
    # Blocks adds epsilon before it corrects the bias, which shows for small gradients in the first steps.
    torch.testing.assert_close(adam_steps((0.9, 0.999)), BLOCKS_ADAM["steps"], rtol=0, atol=2e-6)


def test_adam_with_the_numbers_as_printed_is_another_rule():
    difference = (adam_steps((0.1, 0.001)) - BLOCKS_ADAM["steps"]).abs().max()
    # The difference is larger than the learning rate itself.
    assert difference > 2e-3
