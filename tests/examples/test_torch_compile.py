"""The example with ``torch.compile``."""

import re
import shutil

import pytest
import torch

from examples import torch_compile


@pytest.mark.parametrize(
    "backend",
    [
        "aot_eager",
        pytest.param(
            "inductor",
            marks=[
                pytest.mark.slow,
                pytest.mark.skipif(not any(map(shutil.which, ("gcc", "cc", "clang"))), reason="needs a C compiler"),
            ],
        ),
    ],
)
def test_compiled_network_is_the_network(backend, capsys):
    torch._dynamo.reset()
    torch_compile.main(backend)
    *batches, graphs = capsys.readouterr().out.splitlines()
    assert len(batches) == 3
    for batch in batches:
        output, gradient = map(float, re.findall(r"\de[-+]\d+", batch))
        assert output < 1e-5
        assert gradient < 1e-5
    assert graphs == "compiled graphs: 1"
