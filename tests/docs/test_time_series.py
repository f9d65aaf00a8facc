"""The part of the tutorial on time series that needs aeon: `make test-aeon` runs it in an environment of its own."""

import doctest
import re
from pathlib import Path

import pytest

pytest.importorskip("aeon", reason="aeon is not installed; `make test-aeon` installs it into an environment of its own")

PAGE = Path(__file__).parents[2] / "docs" / "tutorials" / "time-series.md"


def test_what_the_page_shows_is_printed():
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL))
    test = doctest.DocTestParser().get_doctest(code, {}, PAGE.name, str(PAGE), 0)
    assert len(test.examples) > 5
    assert doctest.DocTestRunner().run(test).failed == 0
