"""Links to files of the repository: to their page if the site has one, else plain text.

Some pages of the site are also read in the repository, where such links lead to the files themselves.
"""

from pathlib import Path
from typing import Any

from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.nodes import make_refnode

ROOT = Path(__file__).parents[2]
PAGES = {
    "README.md": "index",
    "CONTRIBUTING.md": "contributing",
    "CHANGELOG.md": "changes",
    "examples/README.md": "examples",
    "examples/speech_recognition/README.md": "examples/speech-recognition",
    "examples/video/README.md": "examples/video",
}


class RepositoryLinks(SphinxPostTransform):
    """Replaces links of Markdown that lead to a file outside the site; a link to nothing is left, and is a warning."""

    default_priority = 8  # before MyST's own, which knows only pages

    def run(self, **options: Any) -> None:  # noqa: ANN401, ARG002 - as in the base class
        """Replace them."""
        page_folder = ROOT / "docs" / Path(self.env.docname).parent
        for node in list(self.document.findall(pending_xref)):
            if node["reftype"] != "myst":
                continue
            for file in ((folder / node["reftarget"]).resolve() for folder in (page_folder, ROOT)):
                if file.is_file() and file.is_relative_to(ROOT) and not file.is_relative_to(ROOT / "docs"):
                    page = PAGES.get(file.relative_to(ROOT).as_posix())
                    name = self.env.docname
                    text = node[0].deepcopy()
                    node.replace_self(make_refnode(self.app.builder, name, page, None, text) if page else text)
                    break


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the transform."""
    app.add_post_transform(RepositoryLinks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
