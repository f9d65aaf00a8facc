"""Settings of Sphinx for the documentation site: ``make docs`` builds it in ``build/docs``."""

import os
import sys
from importlib.metadata import version as version_of
from pathlib import Path

EXTENSIONS = str(Path(__file__).parent / "extensions")
sys.path.insert(0, EXTENSIONS)

# The programs of the tutorials are small, so more threads would only wait for each other. Their shell lines need the
# command.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["COLUMNS"] = "96"
os.environ["TTY_COMPATIBLE"] = "0"  # or Jupyter makes rich write escape sequences
os.environ["PYTHONWARNINGS"] = "ignore:IProgress not found"  # of tqdm, about a widget
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [EXTENSIONS, os.environ.get("PYTHONPATH")]))
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])

project = "convrnn"
author = "The convrnn developers"
release = version = version_of("convrnn")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx_copybutton",
    "commands",
    "docstrings",
    "equations",
    "lines",
    "repository",
]
exclude_patterns = ["extensions"]

html_theme = "furo"
html_title = "convrnn"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_math_renderer = "pictures"
html_theme_options = {"navigation_with_keys": True}
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3

# Sphinx reads only pages that have changed, and runs the tutorials among them.
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 240
nb_merge_streams = True

autodoc_member_order = "bysource"
autodoc_default_options = {"exclude-members": "model_config"}  # of pydantic, with a text in Markdown
# Docstrings give shapes, dtypes and units; with the types the long signatures could not be read.
autodoc_typehints = "none"
autodoc_mock_imports = ["aeon"]

nitpicky = True
