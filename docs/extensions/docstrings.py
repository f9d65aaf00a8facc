"""Docstrings in Google style, and their references.

A reference must name something that exists. If that has no page here, as in other packages and in the inner modules of
this one, the reference becomes plain text.
"""

import importlib
import sys
from collections.abc import Iterator
from typing import Any

from docutils.nodes import Element
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.ext.napoleon import Config
from sphinx.ext.napoleon.docstring import GoogleDocstring

STYLE = Config(napoleon_use_ivar=True, napoleon_use_rtype=False, napoleon_attr_annotations=False)


def to_rst(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Rewrite a docstring in place."""
    # Of an attribute or a property, the class would take what stands before the first colon as its type.
    kind = "function" if what in ("attribute", "data", "property") else what
    lines[:] = GoogleDocstring(lines, STYLE, app, kind, name, obj, options).lines()


def meanings(target: str, module: str | None, owner: str | None) -> Iterator[str]:
    """The full names that a reference can mean."""
    yield target
    if module:
        yield f"{module}.{target}"
        if owner:
            yield f"{module}.{owner}.{target}"
        # What a package offers was written in one of its modules.
        package = ".".join(module.split(".")[:2])
        for inner in [name for name in sys.modules if name.startswith(f"{package}.")]:
            yield f"{inner}.{target}"
    yield f"builtins.{target}"


def exists(name: str) -> bool:
    """Whether there is a module of this name, or something within one."""
    parts = name.split(".")
    for split in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:split]))
        except ImportError:
            continue
        for position, part in enumerate(parts[split:]):
            if not hasattr(found, part):
                # A field without a default is no attribute of its class.
                last = position == len(parts[split:]) - 1
                return last and part in getattr(found, "__annotations__", {}) | getattr(found, "model_fields", {})
            found = getattr(found, part)
        return True
    return False


def resolve(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: Element) -> Element | None:
    """The link, or the plain text if there is none, of a reference to something that exists; else None, a warning."""
    if node.get("refdomain") != "py":
        return None
    names = meanings(node["reftarget"].lstrip("."), node.get("py:module"), node.get("py:class"))
    name = next(filter(exists, names), None)
    if name is None:
        return None
    # Methods, too, are described under the name of the package that offers their class.
    domain, parts = env.domains.python_domain, name.split(".")
    for length in (1, 2):
        offered = ".".join([*parts[:2], *parts[-length:]])
        if offered in domain.objects:
            return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", offered, node, content)
    return content


def setup(app: Sphinx) -> dict[str, bool]:
    """Take the place of ``sphinx.ext.napoleon``."""
    app.connect("autodoc-process-docstring", to_rst)
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
