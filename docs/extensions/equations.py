"""Equations as pictures within the page: no script and no font is loaded, and they look alike in every browser."""

from html import escape

import ziamath
from docutils.nodes import Element, SkipNode
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

SIZE = 17  # pixels, as tall as the text around
ziamath.config.svg2 = False  # SVG 1, which every browser draws


def draw(latex: str, *, inline: bool) -> str:
    """The SVG of an equation, in the colour of the text, with its LaTeX for those who hear the page."""
    equation = ziamath.Latex(latex, size=SIZE, color="currentColor", inline=inline)
    style = f"vertical-align: {equation.getyofst():.1f}px" if inline else "max-width: none"
    return equation.svg().replace("<svg ", f'<svg role="img" aria-label="{escape(latex)}" style="{style}" ', 1)


def visit_math(translator: HTML5Translator, node: Element) -> None:
    """Write an equation within a line."""
    translator.body.append(draw(node.astext(), inline=True))
    raise SkipNode


def visit_math_block(translator: HTML5Translator, node: Element) -> None:
    """Write an equation of its own, or several, aligned at ``&``."""
    latex = node.astext()
    if "&" in latex or r"\\" in latex:
        latex = r"\begin{split}" + latex + r"\end{split}"
    translator.body.append(f'<div class="equation">{draw(latex, inline=False)}</div>\n')
    raise SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer under the name ``pictures``."""
    app.add_html_math_renderer("pictures", (visit_math, None), (visit_math_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
