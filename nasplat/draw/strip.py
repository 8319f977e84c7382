"""The picture of a network: one strip of blocks, as SVG text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from torch import Tensor, nn

from nasplat.draw.blocks import TIMES
from nasplat.draw.layout import MARGIN, PILL, Arc, Place, Row, block_height, rows
from nasplat.draw.paint import INK, LINE, PAPER, SOFT, about, block, fill, is_dark, legend
from nasplat.draw.svg import element, text, tooltip
from nasplat.draw.trace import Strip, trace
from nasplat.measure import count_macs, count_params

FONT = "'DejaVu Sans', 'Segoe UI', Helvetica, Arial, sans-serif"
SYMBOLS = {"sum": "+", "product": TIMES, "concatenation": "\N{PARALLEL TO}"}
HEAD, WORDS, FOOT = 74.0, 60.0, 46.0
"""Heights of title, of the words under a row, and of the legend."""


def draw(module: nn.Module, example: Tensor, *, title: str = "network", key: str = "") -> str:
    """The network as an SVG picture: one block per convolution, linear layer and pooling, in order.

    Height follows the resolution and width the channels of a block's output (both logarithmic), colour the kernel.
    Arcs are second paths, such as residual connections, with their own layers on them. example: (n, ...), of
    which only the shape counts. title, key: the words above it. A module that torch.fx cannot trace is drawn
    by the order of its layers, without arcs. Norms and activations are not drawn.
    """
    strip = trace(module, example)
    shape = TIMES.join(str(side) for side in strip.input_shape)
    counts = f"{_short(count_params(module))} parameters, {_short(count_macs(module, example))} multiply-adds"
    return picture(strip, (title, key, f"{counts}, input {shape}"))


def picture(strip: Strip, words: tuple[str, str, str]) -> str:
    """The SVG text of a strip under its title, its key and a line of facts."""
    lines = rows(strip)
    width = max([560.0, 2 * MARGIN + 10 * len(words[0]), *(row.right + MARGIN + 30 for row in lines)])
    parts, y = [*_heading(words, width)], HEAD
    for number, row in enumerate(lines):
        middle = y + row.rise + 10
        parts += _row(strip, row, middle, (number == 0, number == len(lines) - 1))
        y = middle + row.half + WORDS
    parts += legend(strip, y + 22)
    height = y + FOOT
    paper = element("rect", width=width, height=height, fill=PAPER, rx=8)
    return element(
        "svg",
        "\n".join([paper, *parts]),
        xmlns="http://www.w3.org/2000/svg",
        width=round(width),
        height=round(height),
        viewBox=f"0 0 {round(width)} {round(height)}",
        font_family=FONT,
    )


def _short(number: int) -> str:
    """Three digits and a unit: 1234567 -> 1.23 M."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= 0.9995 * size:  # three digits of 999,999 would be 1e+03 k
            return f"{number / size:.3g} {unit}"
    return str(number)


def _heading(words: tuple[str, str, str], width: float) -> Iterator[str]:
    title, key, facts = words
    yield text(MARGIN, 32, title, font_size=17, font_weight="bold", fill=INK, text_anchor="start")
    yield text(MARGIN, 51, facts, font_size=12, fill=SOFT, text_anchor="start")
    if key:
        yield text(
            width - MARGIN, 51, key, font_size=11, fill=SOFT, text_anchor="end", font_family="monospace"
        )


def _row(strip: Strip, row: Row, middle: float, edges: tuple[bool, bool]) -> Iterator[str]:
    """One row: the line, arcs behind, blocks, words, ruler; `edges` says whether it is the first and the last."""
    first, last = edges
    end = row.right + (4 if last else 12)
    yield element(
        "path", d=f"M{MARGIN - 14 * (not first):.1f} {middle:.1f}H{end:.1f}", stroke=LINE, stroke_width=1.5
    )
    for arc in row.arcs:
        yield from _arc(arc, middle)
    if first:
        yield _input_box(strip, middle)
    for place in row.places:
        yield from block(place, middle, middle + row.half)
    for how, x in sorted({(a.link.how, a.x1) for a in row.arcs if a.ends}):
        yield element("circle", cx=x, cy=middle, r=6, fill=PAPER, stroke=INK, stroke_width=1.1)
        yield text(x, middle + 4, SYMBOLS[how], font_size=12, fill=INK)
    if last:
        words = TIMES.join(str(side) for side in strip.output_shape)
        yield text(row.right + 8, middle + 4, words, font_size=11, fill=INK, text_anchor="start")
    yield from _ruler(row.places, middle + row.half + 44)


def _input_box(strip: Strip, middle: float) -> str:
    height = block_height(strip.input_shape[1:])
    box = element(
        "rect", x=MARGIN, y=middle - height / 2, width=14, height=height, rx=2, fill="#eef1f4", stroke=LINE
    )
    words = text(MARGIN + 7, middle + height / 2 + 14, "input", font_size=9.5, fill=SOFT)
    return box + words


def _arc(arc: Arc, middle: float) -> Iterator[str]:
    """A bridge with round corners from the line up to its lane and down again; open ends at a row's edge."""
    top, x0, x1 = middle - arc.rise, arc.x0, arc.x1
    rise = f"M{x0:.1f} {middle:.1f}V{top + 6:.1f}q0 -6 6 -6" if arc.starts else f"M{x0:.1f} {top:.1f}"
    fall = f"H{x1 - 6:.1f}q6 0 6 6V{middle:.1f}" if arc.ends else f"H{x1:.1f}"
    yield element("path", d=rise + fall, fill="none", stroke=SOFT, stroke_width=1.2)
    if arc.link.aside and arc.ends:
        blocks = arc.link.aside
        words = " ".join(b.label for b in blocks) if len(blocks) < 3 else f"{len(blocks)} layers"
        width, centre = 10 + 6 * len(words), (x0 + x1) / 2
        box = {"x": centre - width / 2, "y": top - PILL, "width": width, "height": 2 * PILL}
        words_over = tooltip("; ".join(about(b) for b in blocks))
        yield element("rect", words_over, rx=PILL, fill=fill(blocks[0]), stroke=PAPER, **box)
        yield text(centre, top + 3.5, words, font_size=9.5, fill=PAPER if is_dark(blocks[0]) else INK)


def _ruler(places: Sequence[Place], y: float) -> Iterator[str]:
    """Brackets over the blocks of equal resolution."""
    for size, run in groupby(places, key=lambda p: p.block.size):
        group = list(run)
        if not size:
            continue
        x0, x1 = group[0].x - 1, group[-1].x + group[-1].width + 1
        yield element("path", d=f"M{x0:.1f} {y - 4:.1f}v4H{x1:.1f}v-4", fill="none", stroke=LINE)
        square = len(size) == 2 and size[0] == size[1]
        words = f"{size[0]}\N{SUPERSCRIPT TWO}" if square else TIMES.join(str(side) for side in size)
        yield text((x0 + x1) / 2, y + 12, words, font_size=9.5, fill=SOFT)
