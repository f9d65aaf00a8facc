import numpy as np
from matplotlib.image import imread

from convrnn.experiments.report.confusion import confusion_figure, png

CONFUSION = np.array([[3, 1, 0], [0, 0, 0], [5, 5, 10]])


def test_cells_show_share_of_the_row_and_count():
    figure = confusion_figure(CONFUSION, ("a", "b", "c"), "the title")
    axes = figure.axes[0]
    texts = [(text.get_position(), text.get_text()) for text in axes.texts]
    shares = {(round(y), round(x)): text for (x, y), text in texts if text.endswith("%")}
    counts = {(round(y), round(x)): text for (x, y), text in texts if not text.endswith("%")}
    assert shares[0, 0] == "75 %"
    assert shares[2, 0] == "25 %"
    assert shares[1, 1] == "0 %"  # a class without examples causes no division by zero
    assert (counts[0, 1], counts[2, 2]) == ("1", "10")
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b", "c"]
    assert axes.get_title() == "the title"


def test_only_text_on_dark_cells_is_white():
    axes = confusion_figure(CONFUSION, ("a", "b", "c"), "").axes[0]
    colors = {text.get_text(): text.get_color() for text in axes.texts if text.get_text().endswith("%")}
    assert colors["75 %"] == "white"
    assert colors["25 %"] == "black"


def test_the_picture_is_written_completely(tmp_path):
    (tmp_path / "confusion.png").write_bytes(png(confusion_figure(CONFUSION, ("a", "b", "c"), "t")))
    assert [path.name for path in tmp_path.iterdir()] == ["confusion.png"]
    assert imread(tmp_path / "confusion.png").std() > 0.05


def test_a_long_title_is_not_cut_off(tmp_path):
    title = "clstm-hidden-mean on the-recordings-of-both-studies-2019-and-2021, arousal\nUA recall 70.0 %, 5 seeds"
    figure = confusion_figure(CONFUSION[:2, :2], ("a", "b"), title)
    (tmp_path / "confusion.png").write_bytes(png(figure))
    box = figure.axes[0].title.get_window_extent()
    assert box.x0 >= figure.bbox.x0 - 1
    assert box.x1 <= figure.bbox.x1 + 1
    assert box.y1 <= figure.bbox.y1 + 1


def test_long_class_names_are_not_cut_off(tmp_path):
    names = ("a class with a long name", "another with an even longer name", "c")
    figure = confusion_figure(CONFUSION, names, "t")
    (tmp_path / "confusion.png").write_bytes(png(figure))
    whole = figure.bbox
    for label in (*figure.axes[0].get_xticklabels(), *figure.axes[0].get_yticklabels()):
        box = label.get_window_extent()
        assert box.x0 >= whole.x0 - 1
        assert box.y0 >= whole.y0 - 1


def test_names_are_not_read_as_formulas(tmp_path):
    names = ("$\\frac{", "cost $5 or $6")
    figure = confusion_figure(CONFUSION[:2, :2], names, "task $\\x$")
    (tmp_path / "confusion.png").write_bytes(png(figure))
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == list(names)


def test_a_thousand_classes_are_drawn_in_bounded_time_and_space(tmp_path):
    count = 1000
    confusion = np.eye(count, dtype=np.int64)
    figure = confusion_figure(confusion, [f"{'word' * 30}-{number}" for number in range(count)], "t")
    axes = figure.axes[0]
    assert not axes.texts
    assert 30 <= len(axes.get_yticklabels()) <= 60
    (tmp_path / "confusion.png").write_bytes(png(figure))
    assert (tmp_path / "confusion.png").stat().st_size < 2**21
    height, width, _ = imread(tmp_path / "confusion.png").shape
    assert max(height, width) <= 2000
