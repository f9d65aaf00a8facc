"""``convrnn reproduce`` on a small corpus, and its errors."""

import json
import re
import shutil
from pathlib import Path

import pytest

TRIAL = ("--task", "pitch", "--max-epochs", 1, "--seeds", 1, "--jobs", 2)


@pytest.fixture(scope="module")
def tables(convrnn, corpus, cache, tmp_path_factory):
    """Tables I and IV on the tones: the folder and the command's output."""
    out = tmp_path_factory.mktemp("tables")
    command = ("reproduce", "table1", "table4", "--corpus", corpus, "--setting", "emotion", *TRIAL)
    said = convrnn(*command, "--out", out, "--cache", cache)
    assert said.code == 0, said.err
    return out, said, command


def test_every_table_is_reported_in_four_formats(tables):
    out, said, _ = tables
    names = {path.name for path in out.iterdir()}
    for table in ("table1", "table4"):
        assert {f"{table}.{ending}" for ending in ("html", "md", "csv", "tex")} <= names
        assert f"{table}.html" in said.out
    assert "Extended CLSTM" in said.out
    assert "cell states, max" in said.out


def test_runs_shared_by_tables_are_trained_once(tables):
    out, said, _ = tables
    # Four models and six variants, one of which is the CLSTM of Table I.
    assert len([path for path in (out / "runs").iterdir() if path.is_dir()]) == 4 + 6 - 1
    assert "1 of 6 runs were already finished" in said.err


def test_the_same_command_again_does_nothing(convrnn, tables, cache):
    out, said, command = tables
    again = convrnn(*command, "--out", out, "--cache", cache)
    assert again.code == 0, again.err
    assert again.out == said.out
    assert "4 of 4 runs were already finished" in again.err


def test_json_is_one_report_per_table(convrnn, tables, cache):
    out, _, command = tables
    said = convrnn(*command, "--out", out, "--cache", cache, "--json")
    assert [report["table"] for report in json.loads(said.out)] == ["table1", "table4"]


def test_dry_run_counts_the_remaining_runs_and_does_nothing(convrnn, corpus, tables, cache, tmp_path):
    out, _, command = tables
    before = sorted((out / "runs").iterdir())
    said = convrnn(*command, "--seeds", 2, "--out", out, "--cache", cache, "--dry-run", "--json")
    assert said.code == 0, said.err
    plan = json.loads(said.out)
    assert (plan["total"]["runs"], plan["total"]["left"], plan["total"]["jobs"]) == (2 * 9, 9, 2)
    lines = {(line["table"], line["model"]): line for line in plan["plan"]}
    assert lines["table4", "clstm-cell-last"]["shared"] == 2
    assert lines["table1", "conv"]["finished"] == lines["table1", "conv"]["left"] == 1
    assert lines["table1", "conv"]["seconds_per_epoch"] > 0
    assert 0 < plan["total"]["seconds"] <= plan["total"]["max_seconds"]
    assert sorted((out / "runs").iterdir()) == before
    # It refuses what the command itself would refuse.
    columns = (out / "table1.columns.json").read_bytes()
    refused = convrnn(*command, "--max-epochs", 9, "--out", out, "--cache", cache, "--dry-run")
    assert (refused.code, refused.out) == (2, "")
    assert "(now 9); choose another --out" in refused.err
    assert (out / "table1.columns.json").read_bytes() == columns
    empty = convrnn("reproduce", "table1", "--corpus", corpus, *TRIAL, "--dry-run", "--out", tmp_path / "new")
    assert empty.code == 0, empty.err
    assert "4 of 4 runs are left" in empty.out
    assert not (tmp_path / "new").exists()


def test_a_folder_with_the_table_of_another_corpus_is_refused(convrnn, corpus, tables):
    out, _, _ = tables
    said = convrnn("reproduce", "table1", "--corpus", corpus, *TRIAL, "--split", "folds:2", "--out", out)
    assert said.code == 2
    # Of long paths the middle is left out.
    table = rf"table1 of csv:\S*/{Path(corpus).name}, task pitch, setting emotion, split partitions"
    assert re.search(rf"--out \S*/{out.name} holds {table}", said.err)


def test_a_folder_with_the_table_of_other_training_options_is_refused(convrnn, corpus, tables):
    out, _, _ = tables
    said = convrnn("reproduce", "table1", "--corpus", corpus, *TRIAL, "--max-epochs", 2, "--out", out)
    assert said.code == 2
    assert said.err.splitlines()[-1] == (
        f"convrnn: error: --out {out} holds table1 of {corpus} with --max-epochs 1 (now 2); choose another --out"
    )


def test_a_table_keeps_the_seeds_in_the_folder(convrnn, corpus, tables, tmp_path):
    out = shutil.copytree(tables[0], tmp_path / "out")
    command = ("reproduce", "table1", "--corpus", corpus, *TRIAL, "--out", out)
    more = convrnn(*command, "--seeds", 2)
    assert "4 of 8 runs were already finished" in more.err
    assert "; 2 seeds; " in " ".join(more.out.split())
    again = convrnn(*command, "--seeds", 1)
    assert "8 of 8 runs were already finished" in again.err
    assert again.out == more.out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("table5", "--corpus", "demo"), "TABLE: unknown value 'table5'; allowed: table1, table2, table3, table4"),
        (("table1", "--corpus", "demo"), "--task: name the label column of demo to use for table1"),
        (("table1", "--corpus", "agender:a"), "table1 has no column on agender:a; it needs aibo:PATH, or another"),
        (("table1", "--corpus", "aibo:a", "--task", "age"), "--task age: unknown; tasks of aibo:a: emotion2, emotion5"),
        (("table1", "--corpus", "aibo:a", "--split", "random"), "--split random: is only for other corpora"),
        (("table1", "--corpus", "aibo:a", "--setting", "emotion"), "--setting emotion: is only for other corpora"),
        (
            ("table1", "--corpus", "aibo:a", "--corpus", "agender:b"),
            "--corpus agender:b: table1 has no column on it; leave it out",
        ),
        (("table1", "--corpus", "demo", "--features", "mfcc"), "--features: unknown value 'mfcc'; allowed: logmel,"),
        (("table4", "--corpus", "demo", "--task", "age"), "--setting: table4 has columns of both settings"),
        (("table1", "--corpus", "aibo:nowhere"), "aibo"),
    ],
)
def test_requests_that_no_table_fits_are_refused(convrnn, tmp_path, arguments, sentence):
    said = convrnn("reproduce", *arguments, "--out", tmp_path / "out")
    assert said.code == 2
    assert sentence in " ".join(said.err.split())
    assert not (tmp_path / "out").exists()


def test_columns_left_out_are_named(convrnn, corpus, tmp_path):
    # With the user's own corpus there is no such note, as it has none of the paper's columns.
    said = convrnn("reproduce", "table1", "--corpus", corpus, *TRIAL, "--dry-run", "--out", tmp_path)
    assert "left out" not in said.err
