import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

GRID = ("--task", "pitch", "--models", "conv,clstm", "--split", "folds:2", "--max-epochs", 2, "--batch-size", 8)


@pytest.fixture(scope="module")
def grid(convrnn, corpus, cache, tmp_path_factory):
    """A finished comparison: its folder and what the command said."""
    out = tmp_path_factory.mktemp("grid")
    options = ("--seeds", 2, "--jobs", 2, "--yardstick", "--probe", "--out", out, "--cache", cache)
    said = convrnn("compare", corpus, *GRID, *options)
    assert said.code == 0, said.err
    return out, said


def test_table_has_a_row_per_model_and_the_promised_columns(grid):
    out, _ = grid
    rows = list(csv.DictReader((out / "table.csv").read_text().splitlines()))
    assert list(rows[0]) == [
        "model", "ua_recall_mean", "ua_recall_std", "accuracy", "parameters", "seconds", "seeds"
    ]  # fmt: skip
    assert [row["model"] for row in rows] == ["conv", "clstm", "probe of conv", "probe of clstm", "linear SVM"]
    assert all(row["seeds"] == "2" for row in rows)
    assert all(0 <= float(row["ua_recall_mean"]) <= 100 for row in rows)
    assert float(rows[-1]["ua_recall_mean"]) == 100  # the two pitches are easy to tell apart


def test_table_is_what_the_runs_predicted(grid):
    out, _ = grid
    request = json.loads((out / "compare.json").read_text())
    recalls = []
    for seed in (0, 1):
        hits = {"low": [], "high": []}
        for run in request["runs"]:
            if (run["model"], run["seed"]) == ("clstm", seed):
                for row in csv.DictReader((out / "runs" / run["hash"] / "predictions.csv").open()):
                    hits[row["label"]].append(row["label"] == row["prediction"])
        assert len(hits["low"]) == len(hits["high"]) == 16  # both folds
        recalls.append(50 * sum(sum(found) / 16 for found in hits.values()))
    row = list(csv.DictReader((out / "table.csv").read_text().splitlines()))[1]
    assert float(row["ua_recall_mean"]) == pytest.approx(sum(recalls) / 2, abs=1e-3)
    # For two values the deviation with ddof = 1 is their distance over the root of two.
    assert float(row["ua_recall_std"]) == pytest.approx(abs(recalls[0] - recalls[1]) / 2**0.5, abs=1e-3)


def test_stdout_is_the_table_and_stderr_the_progress(grid, corpus):
    out, said = grid
    assert "UA recall [%]" in said.out
    assert "2 folds pooled per seed" in said.out
    assert "at most 2 epochs" in said.out
    assert str(out) in said.out.splitlines()[-1]
    assert corpus in said.out
    assert "UA recall [%]" not in said.err
    finished = [line for line in said.err.splitlines() if line.startswith("[")]
    assert len(finished) == 8
    assert finished[-1].startswith("[8/8] ")


def test_everything_is_written(grid):
    out, _ = grid
    assert sorted(path.name for path in out.iterdir()) == [
        "compare.json",
        "confusion-clstm.png",
        "confusion-conv.png",
        "confusion-linear-svm.png",
        "confusion-probe-of-clstm.png",
        "confusion-probe-of-conv.png",
        "runs",
        "split.json",
        "table.csv",
        "table.md",
    ]
    assert len(json.loads((out / "split.json").read_text())["splits"]) == 2


def test_one_job_gives_the_numbers_of_two(convrnn, grid, corpus, tmp_path):
    out, _ = grid
    options = [option if option != "conv,clstm" else "clstm" for option in GRID]
    said = convrnn("compare", corpus, *options, "--seeds", 1, "--jobs", 1, "--out", tmp_path, "--json")
    assert said.code == 0, said.err
    runs = json.loads((tmp_path / "compare.json").read_text())["runs"]
    assert len(runs) == 2
    for run in runs:
        for name in ("predictions.csv", "metrics.jsonl"):
            ours, theirs = ((folder / "runs" / run["hash"] / name).read_text() for folder in (tmp_path, out))
            assert _without_times(ours) == _without_times(theirs)
    content = json.loads(said.out)
    assert content["rows"][0]["ua_recall_std"] is None
    assert sum(map(sum, content["rows"][0]["confusion"])) == 32


def test_finished_comparison_is_read_again_and_not_done_again(convrnn, grid, corpus):
    out, first = grid
    before = {path: path.stat().st_mtime_ns for path in (out / "runs").rglob("*")}
    options = ("--seeds", 2, "--jobs", 2, "--yardstick", "--probe", "--out", out)
    said = convrnn("compare", corpus, *GRID, *options)
    assert said.code == 0
    assert "8 of 8 runs had been finished before" in said.err
    assert {path: path.stat().st_mtime_ns for path in (out / "runs").rglob("*")} == before
    assert _without_training_time(said.out) == _without_training_time(first.out)


def test_table_has_only_what_is_asked_for_now(convrnn, grid, corpus):
    out, _ = grid
    options = [option if option != "conv,clstm" else "clstm" for option in GRID]
    said = convrnn("compare", corpus, *options, "--seeds", 1, "--out", out, "--json")
    assert [(row["model"], row["seeds"]) for row in json.loads(said.out)["rows"]] == [("clstm", 1)]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("--split", "random"), "split folds:2 (now random)"),
        (("--setting", "paralinguistic"), "setting emotion (now paralinguistic)"),
        (("--normalise", "corpus"), "normalise speaker (now corpus)"),
        (("--sample-rate", 4000), "features logmel at 8000 Hz (now logmel at 4000 Hz)"),
        (("--features", "egemaps"), "features logmel at 8000 Hz (now egemaps at 8000 Hz)"),
        (("--split", "random", "--setting", "paralinguistic"), "setting emotion (now paralinguistic)"),
    ],
)
def test_folder_of_another_comparison_is_refused(convrnn, grid, corpus, tmp_path, change, told):
    out = shutil.copytree(grid[0], tmp_path / "out", ignore=shutil.ignore_patterns("runs"))
    content = {path: path.read_bytes() for path in out.iterdir()}
    said = convrnn("compare", corpus, *GRID, "--seeds", 2, *change, "--out", out)
    assert said.code == 2
    error = said.err.splitlines()[-1]
    assert error == f"convrnn: error: --out {out} holds another comparison: {told}; choose another --out"
    assert {path: path.read_bytes() for path in out.iterdir()} == content


def test_folder_of_another_corpus_is_refused(convrnn, grid, corpus, tmp_path):
    out = shutil.copytree(grid[0], tmp_path / "out", ignore=shutil.ignore_patterns("runs"))
    source = Path(corpus.removeprefix("csv:"))
    shutil.copytree(source.parent, tmp_path / "corpus")
    other = f"csv:{tmp_path / 'corpus' / source.name}"
    shutil.copy(tmp_path / "corpus" / "s0-0.wav", tmp_path / "corpus" / "s1-0.wav")
    assert f"corpus {corpus} (now {other})" in convrnn("compare", other, *GRID, "--out", out).err
    request = json.loads((out / "compare.json").read_text())
    (out / "compare.json").write_text(json.dumps({**request, "fingerprint": "0"}))
    assert f"corpus {corpus} (now with other content)" in convrnn("compare", corpus, *GRID, "--out", out).err
    (out / "compare.json").write_text(json.dumps({**request, "fingerprint": "0", "task": "mood"}))
    assert "comparison: task mood (now pitch); choose" in convrnn("compare", corpus, *GRID, "--out", out).err
    (out / "compare.json").write_text("{}")
    assert "compare.json: is damaged" in convrnn("compare", corpus, *GRID, "--out", out).err


def test_split_can_be_given_back(convrnn, grid, corpus):
    out, _ = grid
    options = [f"file:{out / 'split.json'}" if option == "folds:2" else option for option in GRID]
    said = convrnn("compare", corpus, *options, "--seeds", 2, "--out", out)
    assert said.code == 0, said.err
    assert "8 of 8 runs had been finished before" in said.err


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_comparison_keeps_what_is_finished_and_continues(convrnn, grid, corpus, cache, tmp_path, how):
    done, _ = grid
    options = [option if option != "conv,clstm" else "clstm" for option in GRID]
    arguments = ["compare", corpus, *map(str, options), "--seeds", "1", "--out", str(tmp_path)]
    command = [sys.executable, "-c", "from convrnn.cli import main; main()", *arguments]
    environment = {**os.environ, "CONVRNN_CACHE": str(cache)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment, text=True) as process:
        _wait_for_finished_run(tmp_path / "runs", process)
        for _ in range(3):  # once is enough, but people press Ctrl-C again
            process.send_signal(how)
            time.sleep(0.2)
        _, err = process.communicate(timeout=60)
    if how == signal.SIGINT:
        assert process.returncode == 2
        assert "Traceback" not in err
        assert "convrnn: error: interrupted: " in err.splitlines()[-1]
        assert "1 of 2 runs are finished and kept" in err.splitlines()[-1]
    finished = sorted(path for path in (tmp_path / "runs").iterdir() if path.name.isalnum())
    assert len(finished) == 1
    before = {path: path.stat().st_mtime_ns for folder in finished for path in folder.iterdir()}

    said = convrnn(*arguments)
    assert said.code == 0, said.err
    assert "1 of 2 runs had been finished before" in said.err
    assert {path: path.stat().st_mtime_ns for path in before} == before
    for run in json.loads((tmp_path / "compare.json").read_text())["runs"]:
        ours, theirs = ((folder / "runs" / run["hash"] / "predictions.csv").read_text() for folder in (tmp_path, done))
        assert ours == theirs


def _wait_for_finished_run(runs, process):
    deadline = time.monotonic() + 120
    while not any(path.name.isalnum() for path in (runs.iterdir() if runs.exists() else ())):
        assert process.poll() is None, "the command ended before it was interrupted"
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _without_times(text):
    lines = []
    for line in text.splitlines():
        if line.startswith("{"):
            content = json.loads(line)
            del content["seconds"]
            line = json.dumps(content)
        lines.append(line)
    return lines


def _without_training_time(text):
    # The linear machines are fitted anew; the networks' times are those of their runs.
    anew = ("linear SVM", "probe of")
    return [
        re.sub(r"\d+\.\d s", "", line) if any(name in line for name in anew) else line for line in text.splitlines()
    ]
