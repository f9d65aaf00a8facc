"""Cells and lines for other programs. Characters that start a formula are from OWASP's list on CSV injection."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convrnn.plain_text import csv_cell, csv_table, markdown, of_csv_cell

DANGEROUS = "=+-@\t\r\n＝＋－＠"


@given(st.text(st.sampled_from([*DANGEROUS, *"'1.e5ax ,\""])))
def test_a_cell_is_read_back_and_never_starts_a_formula(text):
    cell = csv_cell(text)
    assert of_csv_cell(cell) == text
    # A label that happens to look escaped is unchanged when it is read, unless it was escaped when written.
    assert cell == text or cell == f"'{text}"
    if cell[:1] and cell[0] in DANGEROUS:
        float(cell)


@pytest.mark.parametrize("formula", ["=1+1", "@SUM(A1)", "+cmd|' /C calc'!A0", "-2+3+cmd|'!A0", "\t=1", "-5 °C", "--5"])
def test_formulas_become_text(formula):
    assert csv_cell(formula) == f"'{formula}"


@pytest.mark.parametrize("text", ["", "anger", "-5", "+5.25", "-1e-05", "1", "'tis", "'-5", "NA", "a=b", "-.5"])
def test_numbers_and_plain_texts_are_not_changed(text):
    assert csv_cell(text) == of_csv_cell(text) == text


def test_a_written_table_is_read_back():
    rows = [["name", "value"], ["=a,b", -0.5], ['say "x"', ""], ["two\nlines", None]]
    found = list(csv.reader(io.StringIO(csv_table(rows))))
    assert found == [["name", "value"], ["'=a,b", "-0.5"], ['say "x"', ""], ["two\nlines", ""]]


def test_markdown_shows_names_unchanged():
    assert markdown("<script>alert(1)</script>") == r"\<script\>alert(1)\</script\>"
    assert markdown("a|b\nc") == r"a\|b c"
    assert markdown("# no & yes &lt; [x](y)") == r"\# no & yes \&lt; \[x\](y)"
