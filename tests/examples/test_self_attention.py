"""The example with self-attention."""

from examples import self_attention


def test_it_learns_and_ignores_padding(capsys):
    self_attention.main()
    accuracy, change = capsys.readouterr().out.splitlines()
    assert float(accuracy.split()[-2]) > 90
    assert float(change.split()[-1]) < 1e-5
