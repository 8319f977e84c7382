"""The few SVG elements that a picture is made of. Numbers are rounded, so that equal pictures are equal text."""

from __future__ import annotations

from xml.sax.saxutils import escape, quoteattr


def element(tag: str, content: str = "", **attributes: float | str) -> str:
    """`<tag ...>content</tag>`; an underscore in an attribute's name is a hyphen. The content is SVG already."""
    pairs = "".join(f" {name.replace('_', '-')}={_value(value)}" for name, value in attributes.items())
    return f"<{tag}{pairs}>{content}</{tag}>" if content else f"<{tag}{pairs}/>"


def text(x: float, y: float, words: str, **attributes: float | str) -> str:
    """Words centred at x, their baseline at y."""
    return element("text", escape(words), x=x, y=y, **({"text_anchor": "middle"} | attributes))


def tooltip(words: str) -> str:
    """What a browser shows when the mouse rests on the element that holds this."""
    return element("title", escape(words))


def _value(value: float | str) -> str:
    return quoteattr(value if isinstance(value, str) else f"{value:.1f}".removesuffix(".0"))
