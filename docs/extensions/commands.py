"""The directive ``commands``: a section for each command of ``convrnn``, from the help that the command prints."""

import re
from collections.abc import Iterator

import typer
from docutils import nodes
from rich.text import Text
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from convrnn.cli.app import app


def with_literals(text: str) -> list[nodes.Node]:
    """Text in which options and what stands between backquotes are literals."""
    parts = re.split(r"`([^`]+)`|(?<![\w-])(--[a-z][a-z0-9-]*)", text)
    found: list[nodes.Node] = []
    for number, part in enumerate(parts):
        if part:
            found.append(nodes.literal(part, part) if number % 3 else nodes.Text(part))
    return found


def paragraphs(text: str) -> Iterator[nodes.Node]:
    """The paragraphs of a help text; those in colour, which are examples, as one block of code."""
    examples = []
    for paragraph in filter(None, map(str.strip, text.split("\n\n"))):
        plain = Text.from_markup(paragraph)
        if plain.spans:
            examples.append(plain.plain)
        else:
            line = " ".join(plain.plain.split())
            yield nodes.paragraph("", "", *with_literals(line))
    if examples:
        code = "\n".join(examples)
        yield nodes.literal_block(code, code, language="sh")


class Commands(SphinxDirective):
    """A list of all commands and a section for each, in the order of ``convrnn --help``."""

    def run(self) -> list[nodes.Node]:
        """Make the sections."""
        group = typer.main.get_command(app)
        context = group.make_context("convrnn", [], resilient_parsing=True)
        overview = nodes.bullet_list()
        sections: list[nodes.Node] = [overview]
        for name, command in group.commands.items():  # type: ignore[attr-defined]
            inner = command.make_context(name, [], parent=context, resilient_parsing=True)
            title = f"convrnn {name}"
            section = nodes.section("", nodes.title(title, title), ids=[nodes.make_id(title)], names=[title])
            section += paragraphs(command.help)
            items = []
            for parameter in command.get_params(inner):
                label, text = parameter.get_help_record(inner) or ("", "")  # Nothing for a hidden option.
                if not label or "--help" in label:
                    continue
                definition = nodes.definition("", nodes.paragraph("", "", *with_literals(text)))
                items.append(
                    nodes.definition_list_item("", nodes.term("", "", nodes.literal(label, label)), definition)
                )
            section += nodes.definition_list("", *items, classes=["options"])
            section += paragraphs(command.epilog or "")
            self.state.document.note_implicit_target(section)
            link = nodes.reference("", "", nodes.literal(title, title), internal=True, refid=section["ids"][0])
            sentence = re.split(r"(?<=[.:])\s", command.help)[0].rstrip(".:") + "."
            overview += nodes.list_item("", nodes.paragraph("", "", link, nodes.Text(": "), *with_literals(sentence)))
            sections.append(section)
        return sections


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("commands", Commands)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
