"""The example with multivariate time series, on small files in the format of JapaneseVowels."""

import sys

import pytest
import torch

from examples import time_series

HEADER = "# Rising and falling\n@problemName Slopes\n@timeStamps false\n@classLabel true up down\n@data\n"


def line_of(x, label):
    return ":".join([*(",".join(f"{value:.3f}" for value in dimension) for dimension in x.T.tolist()), label])


@pytest.fixture
def folder(tmp_path):
    """Series of 7 to 20 frames whose two dimensions rise or fall."""
    generator = torch.Generator().manual_seed(0)
    folder = tmp_path / "Slopes"
    folder.mkdir()
    for part in ("TRAIN", "TEST"):
        lines = []
        for label in ("up", "down") * 20:
            frames = int(torch.randint(7, 21, (), generator=generator))
            slope = 1 if label == "up" else -1
            x = slope * torch.arange(frames).unsqueeze(1) + torch.randn(frames, 2, generator=generator)
            lines.append(line_of(x - x.mean(dim=0), label))
        (folder / f"Slopes_{part}.ts").write_text(HEADER + "\n".join(lines) + "\n")
    return folder


def run(folder, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["time_series.py", str(folder)])
    monkeypatch.setattr(time_series, "SEEDS", 2)
    time_series.main()


def test_both_layers_learn(folder, monkeypatch, capsys):
    run(folder, monkeypatch)
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["conv", "clstm"]
    for line in lines:
        each, summary = line.partition(": ")[2].split("; ")
        accuracies = [float(value) for value in each.split(", ")]
        assert len(accuracies) == 2
        assert min(accuracies) > 90
        assert float(summary.split()[1]) == pytest.approx(sum(accuracies) / 2, abs=0.051)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1,2,3,4,5:1,2,3,4:up", "series 41 is not numbers by dimension and a label"),
        ("1,2,3,4,?:1,2,3,4,5:up", "series 41 is not numbers by dimension and a label"),
        ("1,2,3,4,nan:1,2,3,4,5:up", "series 41 has values that are not finite"),
        ("1,2,3,4,5:up", "X[40] has 1 features per frame; ConvRNNClassifier expects 2"),
        ("up", "X[40] has shape (0,); allowed: [frames, features] with at least one of each"),
    ],
)
def test_bad_series_are_named(line, message, folder, monkeypatch, capsys):
    with (folder / "Slopes_TEST.ts").open("a") as file:
        file.write(line)
    with pytest.raises(SystemExit) as stopped:
        run(folder, monkeypatch)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_missing_and_empty_files_are_named(folder, monkeypatch, capsys):
    test = folder / "Slopes_TEST.ts"
    test.write_text(HEADER)
    with pytest.raises(SystemExit):
        run(folder, monkeypatch)
    assert f"{test}: has no series" in capsys.readouterr().err
    test.unlink()
    with pytest.raises(SystemExit):
        run(folder, monkeypatch)
    assert str(test) in capsys.readouterr().err.splitlines()[-1]
