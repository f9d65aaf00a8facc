"""The columns that a table has on given corpora."""

import pytest

from convrnn.errors import InputError
from convrnn.experiments.columns import PAPER_TASKS, choose_columns, missing_columns
from convrnn.experiments.paper import TABLES


def described(requests):
    return [(r.corpus, r.column.heading, r.column.task, r.column.setting, r.column.features) for r in requests]


def test_the_papers_corpora_have_known_tasks():
    assert PAPER_TASKS == {"aibo": ("emotion2", "emotion5"), "agender": ("gender", "age")}


def test_the_papers_corpora_give_the_papers_columns():
    assert choose_columns(TABLES["table1"], ["aibo:a"])[0].column is not None
    assert [r.column for r in choose_columns(TABLES["table1"], ["aibo:a"])] == list(TABLES["table1"].columns)
    both = choose_columns(TABLES["table4"], ["aibo:a", "agender:b"])
    assert [r.column for r in both] == list(TABLES["table4"].columns)
    assert [r.corpus for r in both] == ["aibo:a", "aibo:a", "agender:b", "agender:b"]


def test_a_corpus_that_is_not_given_leaves_its_columns_out():
    requests = choose_columns(TABLES["table4"], ["agender:b"])
    assert [r.column.task for r in requests] == ["age", "gender"]
    assert [c.task for c in missing_columns(TABLES["table4"], requests)] == ["emotion2", "emotion5"]


def test_other_corpora_leave_no_columns_out():
    requests = choose_columns(TABLES["table1"], ["demo"], tasks=["gender"])
    assert missing_columns(TABLES["table1"], requests) == []


def test_task_and_features_choose_among_the_papers_columns():
    requests = choose_columns(TABLES["table1"], ["aibo:a"], tasks=["emotion5"])
    assert described(requests) == [("aibo:a", "5 labels", "emotion5", "emotion", "logmel")]
    requests = choose_columns(TABLES["table2"], ["agender:b"], features=["egemaps-25ms"])
    assert described(requests) == [("agender:b", "eGeMAPS, 25 ms", "gender", "paralinguistic", "egemaps-25ms")]
    requests = choose_columns(TABLES["table2"], ["agender:b"], features=["logmel", "egemaps"])
    assert [r.column for r in requests] == list(TABLES["table2"].columns)


def test_other_corpora_take_the_tables_setting_and_features():
    assert described(choose_columns(TABLES["table2"], ["csv:d.csv"], tasks=["sex"])) == [
        ("csv:d.csv", "sex, log mel filter-banks", "sex", "paralinguistic", "logmel"),
        ("csv:d.csv", "sex, eGeMAPS", "sex", "paralinguistic", "egemaps"),
    ]
    assert described(choose_columns(TABLES["table4"], ["demo"], tasks=["sex", "mood"], setting="emotion")) == [
        ("demo", "sex", "sex", "emotion", "logmel"),
        ("demo", "mood", "mood", "emotion", "logmel"),
    ]


def test_several_other_corpora_have_distinct_headings():
    requests = choose_columns(TABLES["table1"], ["demo", "csv:d.csv"], tasks=["mood"])
    assert [r.column.heading for r in requests] == ["demo, mood", "csv:d.csv, mood"]


def test_the_papers_and_other_corpora_can_be_combined():
    requests = choose_columns(TABLES["table1"], ["aibo:a", "emodb:e"], tasks=["emotion"])
    assert [(r.corpus, r.column.task) for r in requests] == [
        ("aibo:a", "emotion2"),
        ("aibo:a", "emotion5"),
        ("emodb:e", "emotion"),
    ]


@pytest.mark.parametrize(
    ("table", "corpora", "options", "sentence"),
    [
        ("table1", ["agender:b"], {}, r"table1 has no column on agender:b; it needs aibo:PATH, or another corpus"),
        ("table1", ["aibo:a"], {"features": ["egemaps"]}, r"table1 has no column on aibo:a with features='egemaps'"),
        (
            "table1",
            ["aibo:a"],
            {"tasks": ["gender"]},
            r"tasks=\['gender'\]: unknown; tasks of aibo:a: emotion2, emotion5",
        ),
        ("table1", ["demo"], {}, r"'tasks': name the label column of demo to use for table1"),
        ("table4", ["demo"], {"tasks": ["age"]}, r"'setting': table4 has columns of both settings; choose emotion or"),
        ("table4", ["agender:b"], {"features": ["egemaps"]}, r"it needs aibo:PATH and agender:PATH"),
    ],
)
def test_requests_that_no_table_fits_are_refused(table, corpora, options, sentence):
    with pytest.raises(InputError, match=sentence):
        choose_columns(TABLES[table], corpora, **options)
