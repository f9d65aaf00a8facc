import subprocess
import sys

import matplotlib.image
import numpy as np
import pytest

from convrnn.training.curves import draw_curves
from convrnn.training.epochs import EpochReport


def report(epoch: int, rate: float, is_best: bool) -> EpochReport:
    return EpochReport(epoch, 1.5 / epoch, rate / 2, 1.6 / epoch, rate, 1 - rate, 1.0, is_best)


REPORTS = [report(1, 0.5, True), report(2, 0.3, True), report(3, 0.4, False)]


def picture(content: bytes, tmp_path):
    (tmp_path / "curves.png").write_bytes(content)
    return matplotlib.image.imread(tmp_path / "curves.png")


def test_the_picture_shows_the_curves(tmp_path):
    image = picture(draw_curves(REPORTS, "a title"), tmp_path)
    assert image.shape[:2] == (600, 1350)
    pixels = np.round(image[..., :3] * 255).astype(int)
    for colour in ((0x44, 0x77, 0xAA), (0xEE, 0x66, 0x77)):
        assert (pixels == colour).all(axis=-1).sum() > 500


def test_the_best_epoch_is_marked():
    other = [report(1, 0.5, True), report(2, 0.3, False), report(3, 0.4, False)]
    assert draw_curves(REPORTS) != draw_curves(other)


def test_the_picture_is_reproducible():
    assert draw_curves(REPORTS, "a") == draw_curves(REPORTS, "a")
    assert draw_curves(REPORTS, "a") != draw_curves(REPORTS, "b")


def test_a_single_epoch_can_be_drawn():
    assert draw_curves(REPORTS[:1]).startswith(b"\x89PNG")


def test_a_title_is_not_read_as_a_formula(tmp_path):
    reports = [report(1, 0.5, True)]
    assert picture(draw_curves(reports, "task $\\frac{"), tmp_path).shape[:2] == (600, 1350)


def test_curves_without_an_epoch_are_refused():
    with pytest.raises(ValueError, match="at least one epoch"):
        draw_curves([])


def test_pyplot_is_not_imported():
    program = "import sys, convrnn.training.curves; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
