"""The documentation in a real browser: no page is wider than its window, and search finds something."""

import functools
import html
import importlib
import json
import os
import re
import shutil
import subprocess
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import pytest

SITE = Path(__file__).parents[2] / "build" / "docs"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--dump-dom",
)  # fmt: skip

# The browser's window cannot be as narrow as a phone, but a frame can.
MEASURE = """<!DOCTYPE html>
<meta charset="utf-8">
<pre id="result">unfinished</pre>
<script>
const pages = PAGES, widths = WIDTHS, found = [];
const frame = document.createElement("iframe");
frame.style.cssText = "height: 900px; border: 0";
document.body.append(frame);
const load = address => new Promise(done => { frame.onload = done; frame.src = address; });
(async () => {
  for (const width of widths) {
    frame.style.width = width + "px";
    for (const page of pages) {
      await load(page);
      const inside = frame.contentDocument;
      const text = inside.querySelector("article").innerText.length;
      found.push([page, width, inside.documentElement.scrollWidth, text]);
    }
  }
  document.getElementById("result").textContent = JSON.stringify(found);
})();
</script>
"""

if os.environ.get("CONVRNN_BROWSER") != "require":
    pytestmark = [
        pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium"),
        pytest.mark.skipif(not (SITE / "index.html").exists(), reason="the site is not built: make docs"),
    ]


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder, and one more page, without a log."""

    extra = ""

    def do_GET(self):
        if self.path != "/measure.html":
            return super().do_GET()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(self.extra.encode())
        return None

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def address():
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=SITE))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def pages():
    return sorted(path.relative_to(SITE).as_posix() for path in SITE.rglob("*.html") if "_static" not in path.parts)


def browse(address, tmp_path):
    """The page's elements after its scripts have run, as HTML."""
    done = subprocess.run(
        [CHROMIUM, *OPTIONS, f"--user-data-dir={tmp_path}", "--timeout=60000", "--virtual-time-budget=60000", address],
        capture_output=True, text=True, timeout=240, check=True,
    )  # fmt: skip
    return done.stdout


def test_no_page_is_wider_than_its_window(address, tmp_path, monkeypatch):
    names = pages()
    assert len(names) > 30
    script = MEASURE.replace("PAGES", json.dumps(names)).replace("WIDTHS", "[390, 1280]")
    monkeypatch.setattr(Quiet, "extra", script)
    shown = browse(f"{address}/measure.html", tmp_path)
    [text] = re.findall(r'<pre id="result">(.*?)</pre>', shown, re.DOTALL)
    found = json.loads(html.unescape(text))
    assert len(found) == 2 * len(names)
    assert [row for row in found if row[2] > row[1]] == []
    assert [row for row in found if row[3] < 5 and row[0] != "search.html"] == []


@pytest.mark.parametrize(("words", "page"), [("CLSTM", "api/nn.html"), ("folds", "protocol.html")])
def test_search_finds(words, page, address, tmp_path):
    shown = browse(f"{address}/search.html?q={words}", tmp_path)
    [results] = re.findall(r'<div id="search-results">.*?</ul>', shown, re.DOTALL)
    assert page in results


def test_options_and_percentages_stay_on_one_line():
    page = (SITE / "protocol.html").read_text(encoding="utf-8")
    assert re.search(r'<code class="[^"]*\boptions\b[^"]*"><span class="pre">--split-seed<', page)
    assert not re.search(r'<code class="[^"]*\boptions\b[^"]*"><span class="pre">folds:K<', page)
    assert "20\N{NO-BREAK SPACE}% of the training speakers" in page


@pytest.mark.parametrize("package", ["", ".corpora", ".experiments", ".models", ".nn", ".ops", ".sklearn"])
def test_everything_public_is_on_a_page(package):
    module = importlib.import_module(f"convrnn{package}")
    pages = "".join(path.read_text(encoding="utf-8") for path in (SITE / "api").glob("*.html"))
    described = set(re.findall(rf'id="{re.escape(module.__name__)}(?:\.\w+)*\.(\w+)"', pages))
    names = {name for name in module.__all__ if not isinstance(getattr(module, name), ModuleType)} - {"__version__"}
    assert names - described == set()
