"""The estimator for aeon, where aeon is not installed."""

import importlib
import sys

import pytest


def test_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "aeon.classification", None)
    monkeypatch.delitem(sys.modules, "convrnn.aeon", raising=False)
    with pytest.raises(ImportError, match=r"not installed; run: pip install 'convrnn\[aeon\]'$"):
        importlib.import_module("convrnn.aeon")
