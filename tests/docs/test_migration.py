"""The function of docs/migration.md on what the authors' TensorFlow function put out."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from tensorflow_cases import layer_of

ROOT = Path(__file__).parents[2]
PROGRAMS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "migration.md").read_text(encoding="utf-8"), re.DOTALL)
[FUNCTION] = [program for program in PROGRAMS if "def weights_from_tensorflow" in program]

with np.load(ROOT / "tests" / "fixtures" / "tf1_crnn.npz") as file:
    ARRAYS = {name: torch.from_numpy(file[name]) for name in file}
CASES = sorted({name.split("|")[0] for name in ARRAYS})


@pytest.mark.parametrize("case", CASES)
def test_weights_move_over(case):
    names = {}
    exec(FUNCTION, names)  # noqa: S102 - the page is ours
    arrays = {name.split("|")[1]: value for name, value in ARRAYS.items() if name.startswith(f"{case}|")}
    x, y = arrays["x"], arrays["y"]
    rnn_type, layer = layer_of(case, arrays)
    state = {}
    for cell, suffix in (("fw.", "_l0"), ("bw.", "_l0_reverse")):
        weights = {name.removeprefix(cell): value for name, value in arrays.items() if name.startswith(cell)}
        if weights:
            state |= names["weights_from_tensorflow"](rnn_type, weights, x.size(2), suffix)
    layer.load_state_dict(state)
    torch.testing.assert_close(layer(x), y, rtol=0, atol=1e-5)


def test_the_layer_of_the_page_starts_as_the_authors():
    names = {}
    for program in PROGRAMS[:2]:
        exec(program, names)  # noqa: S102 - the page is ours
    layer = names["layer"]
    assert layer(torch.randn(2, 17, 26)).shape == (2, 9, 200)
    assert layer.weight_ih_l0.abs().max() <= 0.2
    assert layer.bias_l0.unique().tolist() == layer.bias_l0_reverse.unique().tolist() == [0, 1]
    assert layer.bias_l0[100:200].eq(1).all()
