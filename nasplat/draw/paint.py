"""What a block looks like, and the legend that explains it."""

from __future__ import annotations

from collections.abc import Iterator

from nasplat.draw.blocks import TIMES, Block
from nasplat.draw.layout import MARGIN, Place
from nasplat.draw.svg import element, text, tooltip
from nasplat.draw.trace import Strip

FILLS = {1: "#8fd0b3", 3: "#5b8fd6", 5: "#8a67b8", 7: "#c0568a"}
LARGER, LINEAR, POOL = "#d9695f", "#5c6773", "#f2c14e"
INK, SOFT, LINE, PAPER = "#26323f", "#6c7884", "#b8c1cb", "#ffffff"


def fill(block: Block) -> str:
    """The colour of a block: by its kernel, or by its kind where it has none."""
    if block.kind in ("linear", "pool"):
        return LINEAR if block.kind == "linear" else POOL
    return FILLS.get(block.kernel, LARGER)


def is_dark(block: Block) -> bool:
    """Whether words on the block should be light."""
    return fill(block) not in (FILLS[1], POOL)


def about(block: Block) -> str:
    """One line that says everything about a block."""
    shape = TIMES.join(str(side) for side in (block.channels, *block.size))
    kind = "" if block.kind == "linear" else f" {block.kind}"
    return f"{block.name}: {block.label}{kind}, output {shape}"


def block(place: Place, middle: float, floor: float) -> Iterator[str]:
    """The box of a block around the middle line, its words below `floor`."""
    shown, x, y = place.block, place.x, middle - place.height / 2
    box = {"x": x, "y": y, "width": place.width, "height": place.height}
    yield element("rect", tooltip(about(shown)), rx=3, fill=fill(shown), stroke=INK, stroke_width=0.7, **box)
    if shown.kind == "depthwise":
        yield _stripes(x, y, place.width, place.height)
    centre = x + place.width / 2
    yield text(centre, floor + 15, shown.label, font_size=9.5, fill=INK)
    yield text(centre, floor + 28, str(shown.channels), font_size=9.5, fill=SOFT)


def legend(strip: Strip, y: float) -> Iterator[str]:
    """One swatch for each look that the picture uses, and how to read height and width."""
    shown = [*strip.blocks, *(b for link in strip.links for b in link.aside)]
    looks = sorted({_look(b): b for b in shown}.items())
    x = MARGIN
    for (_, words), b in looks:
        yield element(
            "rect", x=x, y=y - 10, width=13, height=13, rx=2, fill=fill(b), stroke=INK, stroke_width=0.7
        )
        if b.kind == "depthwise":
            yield _stripes(x, y - 10, 13, 13)
        yield text(x + 18, y + 1, words, font_size=10.5, fill=INK, text_anchor="start")
        x += 34 + 6.3 * len(words)
    rule = "height: resolution (log), width: channels (log)"
    yield text(x + 6, y + 1, rule, font_size=10.5, fill=SOFT, text_anchor="start")


def _look(block: Block) -> tuple[int, str]:
    """Rank in the legend and words."""
    if block.kind in ("linear", "pool"):
        return (900 if block.kind == "pool" else 901), {"pool": "pooling", "linear": "linear"}[block.kind]
    side = f"{block.kernel}{TIMES}{block.kernel}" if block.kernel in FILLS else "other kernel"
    deep = block.kind == "depthwise"
    return 2 * block.kernel + deep, side + " depthwise" * deep


def _stripes(x: float, y: float, width: float, height: float) -> str:
    """Light lines along a box: each channel for itself."""
    lines = "".join(f"M{x + dx:.1f} {y + 2:.1f}v{height - 4:.1f}" for dx in range(4, int(width) - 1, 5))
    return element("path", d=lines, stroke=PAPER, stroke_width=1.3, opacity=0.75)
