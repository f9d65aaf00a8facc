"""Work for the tests of clusters; nodes import it by its name."""

from convrnn.errors import InputError


def double(context, item, report):
    report(f"{item} begins")
    return f"{context}{2 * item}"


def fail_at_two(_context, item, _report):
    if item == 2:
        raise InputError("a.wav: is empty")
    return item


def crash(_context, _item, _report):
    raise KeyError("x")
