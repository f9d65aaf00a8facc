"""The values printed in the paper's tables."""

import statistics

import pytest

from convrnn.experiments.paper import CHALLENGE, TABLES, Column
from convrnn.models.presets import FRONT_ENDS, SETTINGS, preset

PRINTED_AVERAGES = {
    "hidden states, mean": 57.42,
    "hidden states, max": 57.64,
    "hidden states, last": 57.7,
    "cell states, mean": 57.97,
    "cell states, max": 57.92,
    "cell states, last": 57.62,
}
PRINTED_GROUPS = {
    "mean": (70.10, 39.87, 45.91, 74.90),
    "max": (70.35, 39.73, 45.70, 75.35),
    "last": (70.33, 39.94, 45.61, 74.76),
    "hidden states": (70.10, 39.80, 45.69, 74.76),
    "cell states": (70.42, 39.89, 45.79, 75.24),
}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_every_table_has_a_value_for_every_model_and_column(table):
    assert len(table.values) == len(table.rows)
    assert all(len(row) == len(table.columns) for row in table.values)
    assert {row.front_end for row in table.rows} <= set(FRONT_ENDS)
    assert set(table.settings) <= set(SETTINGS)
    assert all(column.task in CHALLENGE for column in table.columns)


def test_the_averages_of_table_4_are_the_printed_ones():
    # A typing error in a cell would show in one of these; the tolerance of a hundredth is for the paper's rounding.
    table = TABLES["table4"]
    for row, values in zip(table.rows, table.values, strict=True):
        mean = statistics.fmean(value.mean for value in values)
        assert mean == pytest.approx(PRINTED_AVERAGES[row.heading], abs=0.0101)
    for group in table.groups:
        rows = [
            values for row, values in zip(table.rows, table.values, strict=True) if row.front_end in group.front_ends
        ]
        means = [statistics.fmean(value.mean for value in column) for column in zip(*rows, strict=True)]
        assert means == pytest.approx(PRINTED_GROUPS[group.heading], abs=0.0101)


def test_tables_agree_where_they_show_the_same_model():
    # The variants of Table IV that the other tables call CLSTM.
    first, second, third, fourth = TABLES.values()
    emotion = dict(zip((row.front_end for row in fourth.rows), fourth.values, strict=True))
    assert emotion["clstm-cell-last"][:2] == first.values[2]
    assert emotion["clstm-cell-max"][2] == third.values[2][0]
    assert emotion["clstm-cell-max"][3] == second.values[2][0]
    for variant, setting in (("clstm-cell-last", "emotion"), ("clstm-cell-max", "paralinguistic")):
        sizes = {"in_features": 26, "num_classes": 2}
        assert preset(variant, setting, **sizes) == preset("clstm", setting, **sizes)


def test_a_column_is_found_whatever_its_heading_and_frames():
    table = TABLES["table2"]
    again = Column("other words", "agender", "gender", "paralinguistic", "egemaps-25ms")
    assert table.own(again) is table.columns[1]
    assert table.value(table.rows[3], again).mean == 78.23
    assert table.own(Column("gender", "csv", "gender", "paralinguistic")) is None
    assert table.value(table.rows[0], Column("gender", "csv", "gender", "paralinguistic")) is None


def test_best_values_are_those_printed_in_bold():
    bold = {
        "table1": (70.59, 39.72),
        "table2": (76.03, 78.23),
        "table3": (46.39, 47.29),
        "table4": (70.59, 40.47, 46.2, 75.68),
    }
    for name, best in bold.items():
        columns = zip(*TABLES[name].values, strict=True)
        assert tuple(max(value.mean for value in column) for column in columns) == best
