"""Equations as MathML, which browsers draw by themselves: no script and no font is loaded."""

from docutils.nodes import Element
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator


def visit_math(translator: HTML5Translator, node: Element) -> None:
    """Write an equation within a line."""
    translator.body.append(convert(node.astext()))


def leave(translator: HTML5Translator, node: Element) -> None:
    """Write nothing more: the whole equation has been written."""


def visit_math_block(translator: HTML5Translator, node: Element) -> None:
    """Write an equation of its own, or several, aligned at ``&``."""
    latex = node.astext()
    if "&" in latex or r"\\" in latex:
        latex = r"\begin{aligned}" + latex + r"\end{aligned}"
    translator.body.append(f'<div class="math">{convert(latex, display="block")}</div>')


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer under the name ``mathml``."""
    app.add_html_math_renderer("mathml", (visit_math, leave), (visit_math_block, leave))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
