"""Keeps on one line what a browser would break: an option such as ``--seeds`` at its hyphens, and ``95 %``."""

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

NO_BREAK_SPACE = "\N{NO-BREAK SPACE}"


class UnbrokenLines(SphinxPostTransform):
    """Marks code with options, whose words ``site.css`` does not break, and changes the spaces before percent signs."""

    default_priority = 900  # when all references have their text

    def run(self, **options: Any) -> None:  # noqa: ANN401, ARG002 - as in the base class
        """Mark and change them."""
        for node in self.document.findall(nodes.literal):
            if re.search(r"(^|\s)-", node.astext()):
                node["classes"].append("options")
        for text in list(self.document.findall(nodes.Text)):
            if not isinstance(text.parent, (nodes.literal, nodes.FixedTextElement, nodes.raw)):
                text.parent.replace(text, nodes.Text(re.sub(r"(?<=\d) %", NO_BREAK_SPACE + "%", text)))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the transform."""
    app.add_post_transform(UnbrokenLines)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
