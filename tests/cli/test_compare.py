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

from tones import write_tone

GRID = ("--task", "pitch", "--models", "conv,clstm", "--split", "folds:2", "--max-epochs", 2, "--batch-size", 8)


@pytest.fixture(scope="module")
def grid(convrnn, corpus, cache, tmp_path_factory):
    """A finished comparison: its folder and the command's output."""
    out = tmp_path_factory.mktemp("grid")
    options = ("--seeds", 2, "--jobs", 2, "--svm-baseline", "--probe", "--out", out, "--cache", cache)
    said = convrnn("compare", corpus, *GRID, *options)
    assert said.code == 0, said.err
    return out, said


def test_the_table_has_a_row_per_model_and_the_documented_columns(grid):
    out, _ = grid
    rows = list(csv.DictReader((out / "table.csv").read_text().splitlines()))
    assert list(rows[0]) == [
        "model", "ua_recall_mean", "ua_recall_std", "accuracy", "parameters", "seconds", "seeds"
    ]  # fmt: skip
    assert [row["model"] for row in rows] == ["conv", "clstm", "probe of conv", "probe of clstm", "linear SVM"]
    assert all(row["seeds"] == "2" for row in rows)
    assert all(0 <= float(row["ua_recall_mean"]) <= 100 for row in rows)
    assert float(rows[-1]["ua_recall_mean"]) == 100  # the two pitches are easy to distinguish


def test_the_table_follows_from_the_runs_predictions(grid):
    out, _ = grid
    request = json.loads((out / "compare.json").read_text())
    recalls = []
    for seed in (0, 1):
        hits = {"low": [], "high": []}
        for run in request["runs"]:
            if (run["model"], run["seed"]) == ("clstm", seed):
                for row in csv.DictReader((out / "runs" / run["hash"] / "predictions.csv").read_text().splitlines()):
                    hits[row["label"]].append(row["label"] == row["prediction"])
        assert len(hits["low"]) == len(hits["high"]) == 16  # both folds
        recalls.append(50 * sum(sum(found) / 16 for found in hits.values()))
    row = list(csv.DictReader((out / "table.csv").read_text().splitlines()))[1]
    assert float(row["ua_recall_mean"]) == pytest.approx(sum(recalls) / 2, abs=1e-3)
    # For two values the deviation with ddof = 1 is their difference over the square root of two.
    assert float(row["ua_recall_std"]) == pytest.approx(abs(recalls[0] - recalls[1]) / 2**0.5, abs=1e-3)


def test_stdout_has_the_table_and_stderr_the_progress(grid, corpus):
    out, said = grid
    assert "UA recall [%]" in said.out
    assert "2 folds pooled per seed" in " ".join(said.out.split())
    assert "at most 2 epochs" in said.out
    assert str(out) in said.out.splitlines()[-1]
    assert corpus in said.out
    assert "UA recall [%]" not in said.err
    finished = [line for line in said.err.splitlines() if line.startswith("[")]
    assert len(finished) == 8
    assert finished[-1].startswith("[8/8] ")


def test_every_file_is_written(grid):
    out, _ = grid
    assert sorted(path.name for path in out.iterdir()) == [
        "compare.json",
        "confusion-clstm.png",
        "confusion-conv.png",
        "confusion-linear-svm.png",
        "confusion-probe-of-clstm.png",
        "confusion-probe-of-conv.png",
        "report.csv",
        "report.html",
        "report.md",
        "report.tex",
        "runs",
        "split.json",
        "table.csv",
        "table.md",
    ]
    assert len(json.loads((out / "split.json").read_text())["splits"]) == 2


def test_one_job_gives_the_same_numbers_as_two(convrnn, grid, corpus, tmp_path):
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


def test_a_finished_comparison_is_read_and_not_run_again(convrnn, grid, corpus):
    out, first = grid
    before = {path: path.stat().st_mtime_ns for path in (out / "runs").rglob("*")}
    options = ("--seeds", 2, "--jobs", 2, "--svm-baseline", "--probe", "--out", out)
    said = convrnn("compare", corpus, *GRID, *options)
    assert said.code == 0
    assert "8 of 8 runs were already finished" in said.err
    assert {path: path.stat().st_mtime_ns for path in (out / "runs").rglob("*")} == before
    assert _without_training_time(said.out) == _without_training_time(first.out)


def networks(said):
    """The rows of networks, whose training times do not change when they are read again."""
    return [row for row in json.loads(said.out)["rows"] if "SVM" not in row["model"] and "probe" not in row["model"]]


def pictures(out):
    return sorted(path.name for path in out.glob("*.png"))


def test_the_table_keeps_the_runs_in_the_folder(convrnn, grid, corpus):
    out, first = grid
    before = (pictures(out), (out / "compare.json").read_text(), (out / "table.md").read_text())
    options = [option if option != "conv,clstm" else "clstm" for option in GRID]
    said = convrnn("compare", corpus, *options, "--seeds", 1, "--out", out)
    assert said.code == 0, said.err
    assert _without_training_time(said.out) == _without_training_time(first.out)
    assert pictures(out) == before[0]
    assert json.loads((out / "compare.json").read_text())["runs"] == json.loads(before[1])["runs"]


def test_models_and_seeds_are_added_to_the_table(convrnn, grid, corpus, tmp_path):
    out = shutil.copytree(grid[0], tmp_path / "out")
    options = [option if option != "conv,clstm" else "baseline" for option in GRID]
    (out / "confusion-crnn.png").write_bytes(b"of a model that the table does not have")
    (out / "confusion-mine.png").write_bytes(b"the user's own")
    said = convrnn("compare", corpus, *options, "--seeds", 1, "--out", out, "--json")
    assert said.code == 0, said.err
    rows = {row["model"]: row["seeds"] for row in json.loads(said.out)["rows"]}
    # The baseline has no front end to probe.
    assert rows == {"conv": 2, "clstm": 2, "baseline": 1, "probe of conv": 2, "probe of clstm": 2, "linear SVM": 2}
    assert list(rows)[:3] == ["conv", "clstm", "baseline"]
    assert "; 1 to 2 seeds; " in json.loads(said.out)["caption"]
    expected = {f"confusion-{name.replace(' ', '-').lower()}.png" for name in rows} | {"confusion-mine.png"}
    assert set(pictures(out)) == expected
    # The other runs are read from the folder, and the same command adds nothing.
    runs = json.loads((out / "compare.json").read_text())["runs"]
    assert len(runs) == len({run["hash"] for run in runs}) == 10
    again = convrnn("compare", corpus, *options, "--seeds", 1, "--out", out, "--json")
    assert [networks(said), networks(said)] == [networks(again), json.loads(said.out)["rows"][:3]]


def test_unfinished_models_are_not_in_the_table(convrnn, grid, corpus, tmp_path):
    out = shutil.copytree(grid[0], tmp_path / "out")
    [run] = [
        run
        for run in json.loads((out / "compare.json").read_text())["runs"]
        if (run["model"], run["seed"], run["split"]) == ("clstm", 1, "fold-1-of-2")
    ]
    shutil.rmtree(out / "runs" / run["hash"])
    options = [option if option != "conv,clstm" else "conv" for option in GRID]
    said = convrnn("compare", corpus, *options, "--seeds", 1, "--out", out, "--json")
    assert {row["model"]: row["seeds"] for row in json.loads(said.out)["rows"]} == {
        "conv": 2, "clstm": 1, "probe of conv": 2, "probe of clstm": 1, "linear SVM": 2
    }  # fmt: skip
    whole = convrnn("compare", corpus, *GRID, "--seeds", 2, "--out", out)
    assert "7 of 8 runs were already finished" in whole.err
    assert _without_training_time(whole.out)[1:3] == _without_training_time(grid[1].out)[1:3]


def test_runs_of_another_version_are_refused(convrnn, grid, corpus, tmp_path):
    out = shutil.copytree(grid[0], tmp_path / "out")
    record = json.loads((out / "compare.json").read_text())
    for number, run in enumerate(run for run in record["runs"] if run["model"] == "clstm"):
        other = f"{number:016x}"
        (out / "runs" / run["hash"]).rename(out / "runs" / other)
        run["hash"] = other
    (out / "compare.json").write_text(json.dumps(record))
    options = [option if option != "conv,clstm" else "conv" for option in GRID]
    said = convrnn("compare", corpus, *options, "--seeds", 2, "--out", out)
    assert said.code == 2
    assert "holds runs of clstm with seed 0 by another version of convrnn" in said.err.splitlines()[-1]
    assert json.loads((out / "compare.json").read_text()) == record


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("--split", "random"), "--split folds:2 (now random)"),
        (("--setting", "paralinguistic"), "--setting emotion (now paralinguistic)"),
        (("--normalise", "corpus"), "--normalise speaker (now corpus)"),
        (("--max-epochs", 3), "--max-epochs 2 (now 3)"),
        (("--learning-rate", 0.01, "--patience", 3), "--learning-rate 0.002 (now 0.01), --patience 12 (now 3)"),
        (("--same-speaker", "s0=s1"), "--same-speaker not given (now s0=s1)"),
        (("--sample-rate", 4000), "--sample-rate 8000 (now 4000)"),
        (("--features", "egemaps"), "--features logmel (now egemaps)"),
        (("--split", "random", "--setting", "paralinguistic"), "--setting emotion (now paralinguistic)"),
    ],
)
def test_the_folder_of_another_comparison_is_refused(convrnn, grid, corpus, tmp_path, change, told):
    out = shutil.copytree(grid[0], tmp_path / "out", ignore=shutil.ignore_patterns("runs"))
    content = {path: path.read_bytes() for path in out.iterdir()}
    said = convrnn("compare", corpus, *GRID, "--seeds", 2, *change, "--out", out)
    assert said.code == 2
    error = said.err.splitlines()[-1]
    assert error == f"convrnn: error: --out {out} holds another comparison: {told}; choose another --out"
    assert {path: path.read_bytes() for path in out.iterdir()} == content


def test_the_folder_of_another_corpus_is_refused(convrnn, grid, corpus, tmp_path):
    out = shutil.copytree(grid[0], tmp_path / "out", ignore=shutil.ignore_patterns("runs"))
    source = Path(corpus.removeprefix("csv:"))
    shutil.copytree(source.parent, tmp_path / "corpus")
    other = f"csv:{tmp_path / 'corpus' / source.name}"
    write_tone(tmp_path / "corpus" / "s1-0.wav", 300, seed=99)
    # Of long paths the middle is left out.
    told = rf"CORPUS csv:\S*/{source.name} \(now csv:\S*/corpus/{source.name}\)"
    assert re.search(told, convrnn("compare", other, *GRID, "--out", out).err)
    request = json.loads((out / "compare.json").read_text())
    (out / "compare.json").write_text(json.dumps({**request, "fingerprint": "0"}))
    assert f"CORPUS {corpus} (now with other content)" in convrnn("compare", corpus, *GRID, "--out", out).err
    (out / "compare.json").write_text(json.dumps({**request, "fingerprint": "0", "task": "mood"}))
    assert "comparison: --task mood (now pitch); choose" in convrnn("compare", corpus, *GRID, "--out", out).err
    for content in ("{}", "[" * 100_000, '{"runs": [{"seed": 9999999999999999999999}]}', "\udcff"):
        (out / "compare.json").write_bytes(content.encode("utf-8", "surrogateescape"))
        said = convrnn("compare", corpus, *GRID, "--out", out)
        assert said.code == 2
        error = said.err.splitlines()[-1]
        assert error.startswith(f"convrnn: error: {out / 'compare.json'}: ")
        assert len(error) <= 300 + len("convrnn: error: ")


def test_the_written_split_can_be_passed_to_split(convrnn, grid, corpus):
    out, _ = grid
    options = [f"file:{out / 'split.json'}" if option == "folds:2" else option for option in GRID]
    said = convrnn("compare", corpus, *options, "--seeds", 2, "--out", out)
    assert said.code == 0, said.err
    assert "8 of 8 runs were already finished" in said.err


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_comparison_keeps_finished_runs_and_continues(convrnn, grid, corpus, cache, tmp_path, how):
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
        assert process.returncode == 130
        assert "Traceback" not in err
        assert "convrnn: error: interrupted: " in err.splitlines()[-1]
        assert "1 of 2 runs are finished and kept" in err.splitlines()[-1]
    finished = sorted(path for path in (tmp_path / "runs").iterdir() if path.name.isalnum())
    assert len(finished) == 1
    before = {path: path.stat().st_mtime_ns for folder in finished for path in folder.iterdir()}

    said = convrnn(*arguments)
    assert said.code == 0, said.err
    assert "1 of 2 runs were already finished" in said.err
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
    # The SVMs are fitted again; the networks' times come from their runs.
    anew = ("linear SVM", "probe of")
    return [
        re.sub(r"\d+\.\d s", "", line) if any(name in line for name in anew) else line for line in text.splitlines()
    ]
