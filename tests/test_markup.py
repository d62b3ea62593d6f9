"""HTML of any text: it comes out as it went in, and makes no element of its own."""

from html.parser import HTMLParser

import hypothesis
import hypothesis.strategies as st
import pytest

from brainjax.report.markup import Markup, join, tag


class Seen(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(page)
        self.close()

    def handle_starttag(self, name, attributes):
        self.tags.append((name, dict(attributes)))

    def handle_data(self, data):
        self.text += data


def safe(text):
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


texts = st.text() | st.sampled_from(
    ["<script>alert(1)</script>", "</p><img src=x onerror=alert(1)>", "\"'>&lt;", "a\0b", "\ud800x"]
)


@hypothesis.given(texts, texts)
@hypothesis.settings(deadline=None, max_examples=200)
def test_any_text_stays_text(text, value):
    seen = Seen(tag("p", tag("b", text), title=value))
    assert [name for name, _ in seen.tags] == ["p", "b"]
    assert seen.text == safe(text)
    assert seen.tags[0][1] == {"title": safe(value)}


def test_attributes_and_children():
    made = tag(
        "td",
        3,
        None,
        ["a", tag("br")],
        class_="n",
        aria_label="x",
        hidden=True,
        id=None,
        checked=False,
    )
    assert made == '<td class="n" aria-label="x" hidden>3a<br></td>'
    assert tag("path", d="M0 0", viewBox="1") == '<path d="M0 0" viewBox="1"/>'
    assert join(["<", Markup("<i>")], "&") == "&lt;&amp;<i>"


@pytest.mark.parametrize("name", ["", "a b", "a>", "1a", 'x="'])
def test_names_are_names(name):
    with pytest.raises(ValueError, match="no name"):
        tag(name)
    with pytest.raises(ValueError, match="no name"):
        tag("p", **{name: "x"})


def test_void_elements_hold_nothing():
    with pytest.raises(ValueError, match="holds nothing"):
        tag("img", "x")
