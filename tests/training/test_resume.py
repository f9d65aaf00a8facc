"""The same spec gives bitwise the same numbers: again, in another process, and after any interruption."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from convrnn.training.config import TrainingConfig
from convrnn.training.epochs import read_metrics
from convrnn.training.fit import run
from convrnn.training.run_directory import CHECKPOINT, METRICS, RunDirectory

PROGRAM = """
import os, signal, sys
from pathlib import Path
from convrnn.corpora.registry import open_corpus
from convrnn.training.fit import run
from convrnn.training.spec import RunSpec

corpus, spec, cache, *runs, die_after = sys.argv[1:]
spec = RunSpec.model_validate_json(spec)

def die(report):
    if report.epoch == int(die_after):
        os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    tones = open_corpus(f"csv:{corpus}").for_task("pitch")
    for folder in runs:
        run(spec, tones, cache_dir=Path(cache), runs_dir=Path(folder), on_epoch=die)
"""


def numbers(directory: Path) -> dict[str, object]:
    """Everything in a run directory that must not depend on the time and place of the run."""
    metrics = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    result = json.loads((directory / "result.json").read_text())
    for row in metrics:
        del row["seconds"]
    for name in ("seconds", "finished"):
        del result[name]
    # The digests of files with times, and of the result itself.
    for name in ("metrics.jsonl", "last.ckpt", "curves.png", "result.json"):
        del result["digests"][name]
    return {
        "metrics": metrics,
        "result": result,
        "predictions": (directory / "predictions.csv").read_bytes(),
        "best": (directory / "best" / "model.safetensors").read_bytes(),
    }


@pytest.fixture(scope="module")
def spec(make):
    return make(training=TrainingConfig(batch_size=8, lr=0.01, max_epochs=5, patience=3), precision="32")


@pytest.fixture(scope="module")
def expected(spec, tones, cache, tmp_path_factory):
    result = run(spec, tones, cache_dir=cache, runs_dir=tmp_path_factory.mktemp("runs"))
    assert result.epochs == 5
    return numbers(result.directory)


def test_a_second_run_in_this_process_gives_the_same_numbers(spec, tones, folders, expected):
    torch.manual_seed(1234)
    np.random.seed(1)  # noqa: NPY002 - the global state is what must not matter

    def disturb(_):
        torch.manual_seed(99)
        torch.rand(7)

    assert numbers(run(spec, tones, **folders, on_step=disturb).directory) == expected


def test_another_seed_gives_other_numbers(make, spec, tones, folders, expected):
    other = make(training=spec.training, seed=2)
    found = numbers(run(other, tones, **folders).directory)
    assert found["metrics"] != expected["metrics"]
    assert found["best"] != expected["best"]


def start(spec, corpus: Path, cache: Path, runs: list[Path], die_after: int) -> subprocess.CompletedProcess[str]:
    arguments = [str(corpus), spec.model_dump_json(), str(cache), *map(str, runs), str(die_after)]
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, timeout=120, check=False
    )


def test_a_killed_and_resumed_run_in_another_process_gives_the_same_numbers(spec, tones_csv, cache, tmp_path, expected):
    killed, fresh = tmp_path / "killed", tmp_path / "fresh"
    process = start(spec, tones_csv, cache, [killed], die_after=2)
    assert process.returncode == -signal.SIGKILL
    partial = RunDirectory(killed, spec.hash).partial
    assert len(read_metrics(partial)) == 2
    process = start(spec, tones_csv, cache, [killed, fresh], die_after=0)
    # Nothing may be printed either: no banner, no summary, no warning.
    assert (process.returncode, process.stdout, process.stderr) == (0, "", "")
    assert numbers(killed / spec.hash) == expected
    assert numbers(fresh / spec.hash) == expected
    assert [path.name for path in killed.iterdir()] == [spec.hash]


class Stop(Exception):
    pass


@pytest.mark.parametrize("epoch", [1, 3, 5])
@pytest.mark.parametrize("where", ["on_step", "on_epoch"])
def test_a_run_stopped_anywhere_gives_the_same_numbers(spec, tones, folders, expected, where, epoch):
    def stop(report):
        if report.epoch == epoch and getattr(report, "batch", 2) == 2:
            raise Stop

    with pytest.raises(Stop):
        run(spec, tones, **folders, **{where: stop})
    seen = []
    result = run(spec, tones, **folders, on_epoch=seen.append)
    done = epoch - 1 if where == "on_step" else epoch
    assert [report.epoch for report in seen] == list(range(done + 1, 6))
    assert numbers(result.directory) == expected


def test_files_ahead_of_the_checkpoint_are_corrected(spec, tones, folders, expected):
    def stop(report):
        if report.epoch == 2:
            raise Stop

    with pytest.raises(Stop):
        run(spec, tones, **folders, on_epoch=stop)
    partial = RunDirectory(folders["runs_dir"], spec.hash).partial
    with (partial / METRICS).open("a") as file:
        file.write('{"epoch": 3, "train_lo')
    (partial / "best" / "model.safetensors").write_bytes(b"of a later epoch")
    assert numbers(run(spec, tones, **folders).directory) == expected


def test_patience_survives_interruption(make, tones, folders):
    training = TrainingConfig(batch_size=8, lr=1e-9, max_epochs=9, patience=3)
    spec = make(training=training)
    for epoch in (1, 2, 3):

        def stop(report, epoch=epoch):
            if report.epoch == epoch:
                raise Stop

        with pytest.raises(Stop):
            run(spec, tones, **folders, on_epoch=stop)
    result = run(spec, tones, **folders)
    assert (result.best_epoch, result.epochs) == (1, 4)


def test_a_killed_test_phase_is_repeated(spec, tones, folders, expected, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("convrnn.training.fit.draw_curves", lambda *_: (_ for _ in ()).throw(Stop))
        with pytest.raises(Stop):
            run(spec, tones, **folders)
    seen = []
    result = run(spec, tones, **folders, on_epoch=seen.append)
    assert seen == []
    assert numbers(result.directory) == expected


def test_a_checkpoint_holds_everything_needed(spec, tones, folders):
    def stop(report):
        if report.epoch == 2:
            raise Stop

    with pytest.raises(Stop):
        run(spec, tones, **folders, on_epoch=stop)
    content = torch.load(folders["runs_dir"] / f"{spec.hash}.partial" / CHECKPOINT, weights_only=True)
    assert set(content) == {"model", "optimizer", "reports", "best_model"}
    assert len(content["optimizer"]["state"]) == len(content["model"])
    assert {float(parameter["step"]) for parameter in content["optimizer"]["state"].values()} == {12.0}
    assert [report["epoch"] for report in content["reports"]] == [1, 2]


def as_lightning_wrote_it(content: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint in the format of earlier versions, which trained with Lightning's trainer."""
    epochs, steps = len(content["reports"]), int(content["optimizer"]["state"][0]["step"])
    best = {"best_epoch": epochs, "fewest_errors": 0}
    progress = {"total": {"ready": epochs, "completed": epochs}, "current": {"ready": epochs, "completed": epochs}}
    return {
        "epoch": epochs - 1,
        "global_step": steps,
        "pytorch-lightning_version": "2.6.6",
        "state_dict": {f"model.{name}": value for name, value in content["model"].items()},
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": progress}},
        "callbacks": {"Selection": {name: content[name] for name in ("reports", "best_model")} | best},
        "optimizer_states": [content["optimizer"]],
        "lr_schedulers": [],
    }


@pytest.mark.parametrize("epoch", [1, 3, 5])
def test_a_run_begun_by_an_earlier_version_continues(spec, tones, folders, expected, epoch):
    def stop(report):
        if report.epoch == epoch:
            raise Stop

    with pytest.raises(Stop):
        run(spec, tones, **folders, on_epoch=stop)
    path = folders["runs_dir"] / f"{spec.hash}.partial" / CHECKPOINT
    torch.save(as_lightning_wrote_it(torch.load(path, weights_only=True)), path)
    seen = []
    result = run(spec, tones, **folders, on_epoch=seen.append)
    assert [report.epoch for report in seen] == list(range(epoch + 1, 6))
    assert numbers(result.directory) == expected
