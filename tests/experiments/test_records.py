"""A folder's table covers all finished runs of one experiment, and nothing else."""

import itertools
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convrnn.corpora.gate import Provisos
from convrnn.corpora.splits import make_splits
from convrnn.errors import InputError
from convrnn.experiments.comparison_record import COMPARISON, ComparisonRecord, open_folder, recorded
from convrnn.experiments.grid import plan
from convrnn.experiments.record import RUNS, RecordedRun, with_earlier_runs
from convrnn.experiments.table_record import TableColumn, open_table
from convrnn.features.logmel import LogMelConfig
from convrnn.training.config import TrainingConfig

MODELS = ("conv", "baseline", "clstm")


@pytest.fixture(scope="module")
def splits(tones):
    return make_splits(tones, "folds:2")


@pytest.fixture(scope="module")
def grid(tones, splits):
    def make(models, seeds, training=None):
        features = LogMelConfig(sample_rate=8000)
        options = {"models": models, "seeds": seeds, "features": features, "training": training}
        return plan(tones, splits, setting="emotion", **options)

    return make


@pytest.fixture(scope="module")
def every(grid):
    """All runs that the tests request, by model and seed."""
    runs = grid(MODELS, range(3))
    return {
        cell: [run for run in runs if (run.spec.model_name, run.spec.seed) == cell]
        for cell in itertools.product(MODELS, range(3))
    }


cells = st.sets(st.sampled_from(list(itertools.product(MODELS, range(3)))))


@given(before=cells, finished=cells, asked=cells.filter(bool), whole=st.booleans())
def test_a_table_has_all_finished_runs_of_the_experiment(every, before, finished, asked, whole):
    with tempfile.TemporaryDirectory() as folder:
        for number, cell in enumerate(sorted(before)):
            # Of the unfinished ones, every other has one finished fold.
            for run in every[cell] if cell in finished else every[cell][: number % 2]:
                (Path(folder) / run.spec.hash).mkdir()
        known = [RecordedRun.of(run) for cell in sorted(before) for run in every[cell]]
        now = [run for cell in sorted(asked) for run in every[cell]]
        runs = with_earlier_runs(now, known, Path(folder), whole_seeds=whole)
    found = {(run.spec.model_name, run.spec.seed) for run in runs}
    earlier = (before & finished) - asked
    if whole:
        models = {model for model, _ in asked}
        seeds = {seed for seed in range(3) if {(model, seed) for model in models} <= earlier}
        earlier = {(model, seed) for model, seed in earlier if model in models and seed in seeds}
    assert found == asked | earlier
    # Each appears once with every fold, and is the planned run.
    assert sorted(run.spec.hash for run in runs) == sorted(run.spec.hash for cell in found for run in every[cell])
    assert [run.spec.seed for run in runs] == sorted(run.spec.seed for run in runs)


def test_requested_runs_are_added_to_the_record(tmp_path, grid, splits):
    first = ComparisonRecord.of(grid(["conv"], [0, 1]), "folds:2", Provisos(), svm_baseline=True)
    assert open_folder(tmp_path, first, grid(["conv"], [0, 1]), splits) == first
    second = ComparisonRecord.of(grid(["clstm", "conv"], [0]), "folds:2", Provisos((), ("a.wav",), (("truncated", 1),)))
    whole = open_folder(tmp_path, second, grid(["clstm", "conv"], [0]), splits)
    assert whole == recorded(tmp_path)
    assert {(run.model, run.seed) for run in whole.runs} == {("conv", 0), ("conv", 1), ("clstm", 0)}
    assert len(whole.runs) == 6
    assert whole.runs[0].model == "conv"
    assert whole.svm_baseline
    assert whole.accepted_errors == {"truncated": 1}
    assert open_folder(tmp_path, second, grid(["clstm", "conv"], [0]), splits) == whole


def test_files_of_earlier_versions_are_read(tmp_path, grid, splits):
    asked = ComparisonRecord.of(grid(["conv"], [0]), "folds:2", Provisos())
    open_folder(tmp_path, asked, grid(["conv"], [0]), splits)
    content = json.loads((tmp_path / COMPARISON).read_text())
    for name in ("joined_speakers", "dropped_duplicates", "accepted_errors"):
        del content[name]
    (tmp_path / COMPARISON).write_text(json.dumps(content))
    assert recorded(tmp_path) == asked


@pytest.mark.parametrize(
    "damage",
    [
        {"runs": [{"model": "../conv", "seed": 0, "split": "a", "hash": "0" * 16}]},
        {"runs": [{"model": "conv", "seed": 0, "split": "a", "hash": "../../etc/passwd"}]},
        {"runs": [{"model": "conv", "seed": -1, "split": "a", "hash": "0" * 16}]},
        {"runs": 7},
        {"features": {"name": "logmel", "num_bands": 10**9}},
        {"training": {"max_epochs": 0}},
        {"fingerprint": None},
    ],
)
def test_a_damaged_record_gives_one_sentence(tmp_path, grid, splits, damage):
    runs = grid(["conv"], [0])
    asked = ComparisonRecord.of(runs, "folds:2", Provisos())
    open_folder(tmp_path, asked, runs, splits)
    path = tmp_path / COMPARISON
    path.write_text(json.dumps(json.loads(path.read_text()) | damage))
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"compare\.json: ") as error:
        open_folder(tmp_path, asked, runs, splits)
    assert "\n" not in str(error.value)
    assert path.read_bytes() == before


def test_a_reproduced_table_keeps_its_training_options(tmp_path, grid):
    runs = grid(["conv"], [0, 1], TrainingConfig(max_epochs=5))
    [column] = open_table(tmp_path, "table1", [TableColumn.of("csv:a.csv", "folds:2", runs)])
    assert len(column.runs) == 4
    # Requesting fewer seeds loses nothing: the others are still recorded.
    fewer = grid(["conv"], [0], TrainingConfig(max_epochs=5))
    [column] = open_table(tmp_path, "table1", [TableColumn.of("csv:a.csv", "folds:2", fewer)])
    assert len(column.runs) == 4
    other = TableColumn.of("csv:a.csv", "folds:2", grid(["conv"], [0], TrainingConfig(max_epochs=6)))
    with pytest.raises(InputError, match=r"holds table1 of csv:a\.csv with max_epochs=5 \(now 6\); choose another"):
        open_table(tmp_path, "table1", [other])
    with pytest.raises(InputError, match=r"holds table1 of csv:a\.csv, task pitch, .* which is not requested now"):
        open_table(tmp_path, "table1", [TableColumn.of("csv:a.csv", "random", runs)])


def test_commands_are_those_that_added_something(tmp_path, grid, splits):
    def opened(models, *command):
        runs = grid(models, [0])
        return open_folder(tmp_path, ComparisonRecord.of(runs, "folds:2", Provisos(), command=command), runs, splits)

    opened(["conv"], "convrnn", "compare", "a")
    assert opened(["conv", "clstm"], "convrnn", "compare", "b").commands[0] == ("convrnn", "compare", "a")
    opened(["baseline"])
    last = opened(["conv"], "convrnn", "compare", "c")
    assert last == recorded(tmp_path)
    assert last.commands == (("convrnn", "compare", "a"), ("convrnn", "compare", "b"), ())


def test_commands_have_the_current_names_of_options(tmp_path, grid, splits):
    runs = grid(["conv"], [0])
    command = ("convrnn", "compare", "csv:a.csv", "--yardstick")
    asked = ComparisonRecord.of(runs, "folds:2", Provisos(), svm_baseline=True, command=command)
    assert asked.command[-1] == "--svm-baseline"
    open_folder(tmp_path, asked, runs, splits)
    path = tmp_path / COMPARISON
    path.write_text(path.read_text().replace("--svm-baseline", "--yardstick"))
    assert recorded(tmp_path) == asked


def test_a_table_keeps_the_commands_of_its_seeds(tmp_path, grid):
    def opened(seeds, *command):
        column = TableColumn.of("csv:a.csv", "folds:2", grid(["conv"], range(seeds)), command)
        return open_table(tmp_path, "table1", [column])[0].commands

    assert opened(1, "reproduce", "1") == (("reproduce", "1"),)
    assert opened(3, "reproduce", "3") == (("reproduce", "1"), ("reproduce", "3"))
    assert opened(2, "reproduce", "2") == (("reproduce", "1"), ("reproduce", "3"))


@pytest.mark.parametrize("content", ["{}", "[{}]", "[" * 100_000, "null", '[{"corpus": 1}]'])
def test_a_damaged_table_gives_one_sentence(tmp_path, grid, content):
    path = tmp_path / "table1.columns.json"
    path.write_text(content)
    column = TableColumn.of("csv:a.csv", "folds:2", grid(["conv"], [0]))
    with pytest.raises(InputError, match=r"table1\.columns\.json: .*; choose another 'out', or delete the file$"):
        open_table(tmp_path, "table1", [column])
    assert path.read_text() == content


def test_damaged_splits_of_a_folder_are_named(tmp_path, grid, splits):
    runs = grid(["conv"], [0])
    asked = ComparisonRecord.of(runs, "folds:2", Provisos())
    open_folder(tmp_path, asked, runs, splits)
    path = tmp_path / "split.json"
    content = json.loads(path.read_text())
    content["splits"][0]["train"].append(content["splits"][0]["test"][0])
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"split\.json: .* is in train and in test; choose another 'out', or delete"):
        open_folder(tmp_path, asked, runs, splits)


def test_the_folders_of_runs_never_change():
    assert RUNS == "runs"
