"""The report in a real browser: everything is shown, fits a phone, and follows the light or dark scheme."""

import json
import os
import re
import shutil
import subprocess
from html import escape

import pytest
from matplotlib.image import imread

from convrnn.experiments.paper import TABLES
from convrnn.experiments.results import Results
from reproductions import OTHER, experiment

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
)  # fmt: skip

WIDTHS = {"desktop": 1280, "phone": 390}
SCHEMES = {"dark": 0, "light": 1}

MEASURE = """
<script>
const seen = element => {
  const box = element.getBoundingClientRect();
  return [box.left, box.top, box.width, box.height];
};
const color = (element, which) => getComputedStyle(element)[which];
document.querySelectorAll("details").forEach(details => { details.open = true; });
const result = {
  width: innerWidth,
  scroll: document.documentElement.scrollWidth,
  tables: [...document.querySelectorAll("table")].map(seen),
  boxes: [...document.querySelectorAll(".scroll")].map(seen),
  pictures: [...document.querySelectorAll("svg")].map(seen),
  lines: [...document.querySelectorAll("polyline")].map(seen),
  text: Math.min(...[...document.querySelectorAll("svg text")].map(it => it.getBoundingClientRect().height)),
  page: color(document.body, "backgroundColor"),
  ink: color(document.body, "color"),
  line: color(document.querySelector("polyline"), "stroke"),
  shaded: color(document.querySelector(".confusion td[style]"), "backgroundColor"),
};
parent.document.getElementById("result").textContent = JSON.stringify(result);
</script>
"""

# The browser's window cannot be as narrow as a phone, but a frame can.
FRAME = """<!DOCTYPE html>
<meta charset="utf-8">
<meta name="color-scheme" content="light dark">
<pre id="result"></pre>
<iframe style="width: {width}px; height: 900px; border: 0" srcdoc="{page}"></iframe>
"""

if os.environ.get("CONVRNN_BROWSER") != "require":
    pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


def chromium(profile, *arguments):
    assert CHROMIUM is not None, "Chromium is not installed, and CONVRNN_BROWSER=require"
    command = [CHROMIUM, *OPTIONS, f"--user-data-dir={profile}", *map(str, arguments)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The file of a report with one of the paper's columns and one of another corpus."""
    folder = tmp_path_factory.mktemp("report")
    table = TABLES["table1"]
    runs = (
        experiment(folder / "runs", table, table.columns[1], seeds=3, speakers=20),
        experiment(folder / "runs", table, OTHER, synthetic=True),
    )
    Results.of(runs, paper=table, commands=[("convrnn", "reproduce", "table1")]).report(folder)
    return folder / "table1.html"


@pytest.fixture(scope="module")
def measured(page, tmp_path_factory):
    """The layout in the browser, by width and colour scheme."""
    # The page itself forbids scripts; this copy lets one measure it.
    text = re.sub(r"<meta http-equiv=[^>]*>", "", page.read_text()).replace("</body>", f"{MEASURE}</body>")
    found = {}
    for place, width in WIDTHS.items():
        frame = page.with_name(f"{place}.html")
        frame.write_text(FRAME.format(width=width, page=escape(text)))
        for scheme, number in SCHEMES.items():
            output = chromium(
                tmp_path_factory.mktemp("profile"),
                "--window-size=1400,1000",
                f"--blink-settings=preferredColorScheme={number}",
                "--dump-dom",
                frame.as_uri(),
            )
            found[place, scheme] = json.loads(re.search(r'<pre id="result">(.*)</pre>', output)[1])
    return found


def test_the_browser_parses_the_page_as_it_was_written(page, tmp_path):
    dom = chromium(tmp_path, "--dump-dom", page.as_uri())
    text = page.read_text()
    for tag in ("table", "svg", "polyline", "circle", "th", "td", "h2", "h3", "details", "caption", "pre"):
        assert dom.count(f"<{tag}") == text.count(f"<{tag}") > 0
    assert "<script" not in dom


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("place", WIDTHS)
class TestLayout:
    def test_every_table_and_picture_is_shown(self, measured, place, scheme):
        found = measured[place, scheme]
        assert len(found["tables"]) == 1 + 2 * 8
        assert len(found["pictures"]) == 2 * 5
        assert len(found["lines"]) == 4 * (3 + 2)
        for _, _, width, height in found["tables"] + found["pictures"]:
            assert width > 100
            assert height > 60
        assert all(width > 50 for _, _, width, _ in found["lines"])

    def test_only_tables_in_scroll_boxes_are_wider_than_the_window(self, measured, place, scheme):
        found = measured[place, scheme]
        assert found["width"] == WIDTHS[place]
        assert found["scroll"] == found["width"]
        for left, _, width, _ in found["boxes"] + found["pictures"]:
            assert left >= 0
            assert left + width <= found["width"]

    def test_text_in_pictures_is_large_enough_to_read(self, measured, place, scheme):
        assert measured[place, scheme]["text"] >= 10  # pixels

    def test_text_and_lines_contrast_with_the_page(self, measured, place, scheme):
        found = measured[place, scheme]
        page = luminance(found["page"])
        assert (page < 0.1) if scheme == "dark" else (page > 0.9)
        assert contrast(found["ink"], found["page"]) >= 7
        assert contrast(found["line"], found["page"]) >= 3


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_screenshot_shows_text_on_the_background(page, scheme, tmp_path):
    picture = tmp_path / "page.png"
    chromium(
        tmp_path / "profile",
        "--window-size=1280,2400",
        f"--blink-settings=preferredColorScheme={SCHEMES[scheme]}",
        f"--screenshot={picture}",
        page.as_uri(),
    )
    pixels = imread(picture)[..., :3].mean(axis=2)
    assert pixels.shape == (2400, 1280)
    ground = pixels[0, 0]
    assert (ground < 0.2) if scheme == "dark" else (ground > 0.9)
    for strip in pixels.reshape(4, 600, 1280):
        assert 0.01 < (abs(strip - ground) > 0.15).mean() < 0.5


def luminance(color):
    """Relative luminance by WCAG 2 of a colour as the browser writes it."""
    channels = [int(number) / 255 for number in re.findall(r"\d+", color)[:3]]
    linear = [it / 12.92 if it <= 0.04045 else ((it + 0.055) / 1.055) ** 2.4 for it in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)
