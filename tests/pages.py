"""A web page parsed into its elements, for tests of its content."""

from html.parser import HTMLParser

VOID = {"meta", "link", "br", "img", "input", "path", "circle", "polyline"}
"""Elements without a closing tag: those of HTML, and self-closing ones of SVG."""


class Page(HTMLParser):
    """Every element with its attributes and its text; wrong nesting is an error."""

    def __init__(self, text):
        super().__init__()
        self.elements = []
        self._open = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        element = {"tag": tag, "text": "", "inside": [it["tag"] for it in self._open], **dict(attrs)}
        assert len(dict(attrs)) == len(attrs)
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag, attrs):
        self.elements.append({"tag": tag, "text": "", "inside": [it["tag"] for it in self._open], **dict(attrs)})

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self._open.pop()["tag"] == tag

    def handle_data(self, data):
        for element in self._open:
            element["text"] += data

    def all(self, tag, **attributes):
        wanted = {name.rstrip("_"): value for name, value in attributes.items()}
        return [it for it in self.elements if it["tag"] == tag and all(it.get(n) == v for n, v in wanted.items())]
