"""eGeMAPS through the commands: compare, train, evaluate, predict."""

import csv
import json
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from convrnn.experiments.prepare import _tell_licence
from convrnn.experiments.resources import extraction_jobs
from convrnn.features import egemaps
from convrnn.features.egemaps import EgemapsConfig
from convrnn.features.logmel import LogMelConfig
from convrnn.models.bundle import Bundle

LICENCE = "computed by openSMILE (audEERING GmbH); its licence is for research and non-commercial use"


@pytest.fixture(autouse=True)
def new_process():
    """The state of a process that has not loaded openSMILE."""
    _tell_licence.cache_clear()
    egemaps.load_opensmile.cache_clear()
    yield
    egemaps.load_opensmile.cache_clear()


@pytest.fixture(scope="module")
def compared(convrnn, corpus, tmp_path_factory):
    _tell_licence.cache_clear()
    out = tmp_path_factory.mktemp("egemaps")
    options = ("--task", "pitch", "--models", "conv", "--seeds", 1, "--max-epochs", 1, "--svm-baseline")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONVRNN_CACHE", str(out / "cache"))
        said = convrnn("compare", corpus, *options, "--features", "egemaps-25ms", "--out", out)
    assert said.code == 0, said.err
    return out, said


def test_compare_extracts_trains_and_names_the_features(compared):
    out, said = compared
    assert said.err.count(LICENCE) == 1
    assert "features: 32 of 32 in" in said.err
    caption = (
        "eGeMAPS (25 low-level descriptors by openSMILE, frames of 25 and 60 ms) at 8000 Hz, standardised per speaker"
    )
    assert caption in " ".join(said.out.split())
    assert caption in (out / "table.md").read_text()
    assert json.loads((out / "compare.json").read_text())["features"] == {
        "kind": "egemaps",
        "sample_rate": 8000,
        "frame_ms": 25,
    }


def test_evaluate_and_predict_use_the_models_features(convrnn, compared, corpus, tmp_path):
    out, _ = compared
    [run] = (out / "runs").iterdir()
    assert json.loads((run / "result.json").read_text())["versions"]["opensmile"] == egemaps.opensmile_version()
    assert Bundle.load(run / "best").config.features == EgemapsConfig(sample_rate=8000, frame_ms=25)
    with (run / "predictions.csv").open() as file:
        tested = list(csv.DictReader(file))
    evaluated = convrnn("evaluate", run, corpus, "--json")
    assert evaluated.code == 0, evaluated.err
    hits = sum(row["label"] == row["prediction"] for row in tested)
    assert json.loads(evaluated.out)["accuracy"] == pytest.approx(hits / len(tested))
    assert LICENCE in evaluated.err

    _tell_licence.cache_clear()
    folder = Path(corpus.removeprefix("csv:")).parent
    lines = ["file,speaker", *(f"{folder / row['file']},{row['speaker']}" for row in tested)]
    (tmp_path / "list.csv").write_text("\n".join(lines) + "\n")
    predicted = convrnn("predict", run, tmp_path / "list.csv")
    assert predicted.code == 0, predicted.err
    assert len(predicted.err.splitlines()) == 1
    assert LICENCE in predicted.err
    rows = list(csv.DictReader(predicted.out.splitlines()))
    assert [row["prediction"] for row in rows] == [row["prediction"] for row in tested]


def test_train_accepts_egemaps(convrnn, corpus, tmp_path):
    said = convrnn(
        "train",
        corpus,
        "--task",
        "pitch",
        "--features",
        "egemaps",
        "--model",
        "conv",
        "--max-epochs",
        1,
        "--out",
        tmp_path,
        "--json",
    )
    assert said.code == 0, said.err
    config = Bundle.load(json.loads(said.out)["bundle"]).config
    assert config.features == EgemapsConfig(sample_rate=8000)
    assert config.model.in_features == 25


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--features", "mfcc"), "--features: unknown value 'mfcc'; allowed: logmel, egemaps, egemaps-25ms"),
        (
            ("--features", "egemaps", "--sample-rate", 4000),
            "--features egemaps --sample-rate 4000: Input should be great",
        ),
    ],
)
@pytest.mark.parametrize("command", [("compare", "--seeds", 1), ("train",)])
def test_unsupported_features_are_refused(convrnn, corpus, tmp_path, command, options, sentence):
    name, *others = command
    said = convrnn(name, corpus, "--task", "pitch", *others, *options, "--out", tmp_path / "out")
    assert said.code == 2
    assert said.err.startswith(f"convrnn: error: {sentence}")
    assert not (tmp_path / "out").exists()


def test_missing_opensmile_is_reported_before_any_work(convrnn, compared, corpus, tmp_path, monkeypatch):
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(egemaps, "version", missing)
    [run] = (compared[0] / "runs").iterdir()
    clip = next(Path(corpus.removeprefix("csv:")).parent.glob("*.wav"))
    for command in (
        ("compare", corpus, "--task", "pitch", "--features", "egemaps", "--out", tmp_path / "out"),
        ("train", corpus, "--task", "pitch", "--features", "egemaps-25ms", "--out", tmp_path / "out"),
        ("evaluate", run, corpus),
        ("predict", run, clip, "--speaker", "anna"),
    ):
        said = convrnn(*command)
        assert said.code == 2
        assert said.out == ""
        sentence = "eGeMAPS features need openSMILE, which is not installed; run: pip install 'convrnn[egemaps]'"
        assert said.err.splitlines()[-1] == f"convrnn: error: {sentence}"
    assert not (tmp_path / "out").exists()


def test_log_mel_needs_no_opensmile(convrnn, corpus, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "opensmile", None)
    said = convrnn("train", corpus, "--task", "pitch", "--max-epochs", 1, "--out", tmp_path)
    assert said.code == 0, said.err
    assert "openSMILE" not in said.err


def test_egemaps_are_extracted_on_all_cores(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(6), raising=False)
    assert extraction_jobs(EgemapsConfig(sample_rate=8000)) == 6
    assert extraction_jobs(EgemapsConfig(sample_rate=8000), 9) == 9
    assert extraction_jobs(LogMelConfig(sample_rate=8000), 3) == 3
