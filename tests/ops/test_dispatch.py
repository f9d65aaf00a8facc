"""The table of backends: what a new one needs, which one runs, and how this is recorded."""

import pytest
import torch

from convrnn import ops
from convrnn.ops import dispatch, native
from convrnn.ops.backend import Backend, Implementation
from convrnn.ops.operands import CellOperands
from native_kernels import needs_library
from operations import WINDOWED, draw, draw_float32


def test_only_the_operations_and_use_backend_are_public():
    windowed = ["windowed_bilstm", "windowed_gru", "windowed_lstm", "windowed_rnn"]
    assert ops.__all__ == ["bilstm_hidden", "gru", "lstm", "lstm_hidden", "rnn", "use_backend", *windowed]


def test_the_last_backend_has_every_operation():
    public = set(ops.__all__) - {"use_backend"}
    assert set(dispatch.TABLE[-1].operations) == public
    assert all(set(backend.operations) <= public for backend in dispatch.TABLE)


def zeros(operands: CellOperands, reverse: bool) -> tuple[torch.Tensor, torch.Tensor]:  # noqa: ARG001
    states = operands.x.new_zeros(*operands.x.shape[:2], operands.weight_hh.size(1))
    return states, states


def unfit(operands):
    return None if operands.x.dtype == torch.float16 else "the zeros are for torch.float16"


def test_a_new_backend_needs_only_a_record_and_a_line_in_the_table(monkeypatch):
    backend = Backend(
        name="zeros",
        title="zero",
        operations={"lstm": zeros},
        cannot_run=unfit,
        missing=lambda: None,
        describe=lambda device: Implementation("zeros", "1", str(device)),
    )
    monkeypatch.setattr(dispatch, "TABLE", (backend, *dispatch.TABLE))
    half = {name: tensor.half() for name, tensor in draw("lstm").items()}
    assert not ops.lstm(**half)[0].any()
    assert ops.lstm(**draw("lstm"))[0].any()
    with ops.use_backend("reference"):
        assert ops.lstm(**half)[0].any()
    with ops.use_backend("zeros"):
        assert not ops.lstm(**half)[0].any()
        with pytest.warns(UserWarning, match="zero backend cannot run this.*: the zeros are for torch.float16"):
            assert ops.lstm(**draw("lstm"))[0].any()
        with pytest.warns(UserWarning, match="zero backend cannot run this.*: it has no windowed_gru"):
            ops.windowed_gru(**draw("gru") | {"bias_hn": None}, kernel_size=3)


def test_a_missing_backend_gives_one_warning(monkeypatch):
    backend = Backend("zeros", "zero", {"lstm": zeros}, lambda _: None, lambda: "no zeros here", lambda _: None)
    monkeypatch.setattr(dispatch, "TABLE", (backend, *dispatch.TABLE))
    with pytest.warns(UserWarning, match="zero backend is missing.*: no zeros here") as caught:
        states = [ops.lstm(**draw("lstm"))[0] for _ in range(2)]
    assert all(hidden.any() for hidden in states)
    assert len([warning for warning in caught if "zero" in str(warning.message)]) == 1


def test_what_runs_refuses_unknown_operations():
    with pytest.raises(ValueError, match="operation is 'mgu'; it must be one of 'windowed_rnn'"):
        dispatch.what_runs(torch.zeros(1, 9, 3), "mgu")


def test_what_runs_follows_dtype_and_choice():
    x = torch.zeros(1, 9, 3)
    with ops.use_backend("reference"):
        assert dispatch.what_runs(x).backend == "reference"
    found = dispatch.what_runs(x.double())
    assert (found.backend, found.kernel, found.compiler) == ("reference", f"torch {torch.__version__}", None)
    assert dispatch.what_runs(x.double(), "windowed_gru").backend == "reference"


@needs_library
def test_the_native_kernel_describes_itself():
    for name in native.instruction_sets():
        with native.use_instruction_set(name):
            found = dispatch.what_runs(torch.zeros(1, 9, 3))
        assert (found.backend, found.instruction_set) == ("native", name)
        assert len(found.kernel) == 12
        assert str(found) == f"native ({name}, kernel {found.kernel}, {found.compiler})"


def test_a_record_holds_only_what_ran():
    with dispatch.record() as outer:
        ops.lstm(**draw("lstm"))
        with dispatch.record() as inner:
            WINDOWED["gru"](**draw("gru") | {"bias_hn": None}, kernel_size=3)
        for _ in range(2):
            ops.windowed_lstm(**draw_float32(), kernel_size=3)
    ops.lstm_hidden(**draw("lstm"))
    assert {(operation, found.backend) for operation, found in inner} == {("windowed_gru", "reference")}
    expected = {("lstm", "reference"), ("windowed_lstm", "native" if native.available() else "reference")}
    assert {(operation, found.backend) for operation, found in outer} == expected
