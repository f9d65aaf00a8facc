"""The example with ONNX."""

import sys

import pytest

from examples import onnx_file


# The exporter calls what PyTorch has deprecated.
@pytest.mark.filterwarnings("ignore:.*LeafSpec.*is deprecated")
def test_onnx_runtime_agrees(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["onnx_file.py", str(tmp_path / "model.onnx")])
    onnx_file.main()
    batches = capsys.readouterr().out.splitlines()
    assert len(batches) == 3
    assert all(float(batch.split()[-1]) < 1e-5 for batch in batches)
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_folder_that_does_not_exist(tmp_path, capsys, monkeypatch):
    file = tmp_path / "nowhere" / "model.onnx"
    monkeypatch.setattr(sys, "argv", ["onnx_file.py", str(file)])
    with pytest.raises(SystemExit) as stopped:
        onnx_file.main()
    assert stopped.value.code == 2
    assert capsys.readouterr().err.endswith(f"error: {file}: must be a file in an existing folder\n")
