"""Where everything stands: blocks in rows, gaps wide enough for their links, links in lanes above the blocks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from nasplat.draw.blocks import Block
from nasplat.draw.trace import Link, Strip

ROW_WIDTH = 1160.0
MARGIN = 28.0
GAP, FORK_ROOM, JOIN_ROOM = 12.0, 10.0, 16.0
SLOT = 34.0  # room for the words under a block
LANE = 13.0
PILL = 7.0  # half the height of a box on a link


@dataclass(frozen=True, slots=True)
class Place:
    """A block at position `index` of the line: left edge and size of its box, room for its words."""

    index: int
    block: Block
    x: float
    width: float
    height: float
    slot: float


@dataclass(frozen=True, slots=True)
class Arc:
    """The part of a link that lies in one row; `rise` is its height above the middle line."""

    link: Link
    x0: float
    x1: float
    rise: float
    starts: bool
    ends: bool


@dataclass(frozen=True, slots=True)
class Row:
    """One line of blocks with its arcs: right end, largest rise above the middle line, half the tallest box."""

    places: tuple[Place, ...]
    arcs: tuple[Arc, ...]
    right: float
    rise: float
    half: float


def block_width(block: Block) -> float:
    """Grows with the logarithm of the channels."""
    return 6 + 5 * math.log2(max(block.channels, 1) + 1)


def block_height(size: Sequence[int]) -> float:
    """Grows with the logarithm of the resolution."""
    return 18 + 19 * math.log2(max(size, default=1))


def rows(strip: Strip) -> list[Row]:
    """The rows of a picture; a long network is broken where the fewest links cross."""
    whole = _lead(0) + sum(_step(strip, index) for index in range(len(strip.blocks)))
    limit = MARGIN + 1.1 * whole / max(1, math.ceil(whole / (ROW_WIDTH - MARGIN)))  # rows of like length
    found: list[Row] = []
    first = 0
    while first < len(strip.blocks) or not found:
        found.append(_row(strip, first, last := _row_end(strip, first, min(limit, ROW_WIDTH))))
        first = last
    return found


def _row_end(strip: Strip, first: int, limit: float) -> int:
    """One past the last block of the row that starts with block `first`."""
    x, last = MARGIN + _lead(first), first
    while last < len(strip.blocks):
        x += _step(strip, last)
        if x > limit and last > first:
            break
        last += 1
    if last == len(strip.blocks):
        return last
    choices = range(first + max(1, (last - first) * 3 // 4), last + 1)
    return min(choices, key=lambda end: (sum(k.start < end - 1 < k.end for k in strip.links), -end))


def _row(strip: Strip, first: int, last: int) -> Row:
    places, x = [], MARGIN + _lead(first)
    for index in range(first, last):
        block = strip.blocks[index]
        slot, width = _slot(block), block_width(block)
        x += _before(strip, index)
        places.append(Place(index, block, x + (slot - width) / 2, width, block_height(block.size), slot))
        x += slot + _after(strip, index)
    heights = [p.height for p in places] + [block_height(strip.input_shape[1:])] * (first == 0)
    arcs = _arcs(strip, places, x) if places else ()
    half = max(heights) / 2
    return Row(tuple(places), arcs, x, max([half, *(a.rise + PILL * bool(a.link.aside) for a in arcs)]), half)


def _arcs(strip: Strip, places: Sequence[Place], right: float) -> tuple[Arc, ...]:
    """Short links first: a longer one passes above those it spans."""
    first, last = places[0].index, places[-1].index
    arcs: list[Arc] = []
    for link in sorted(strip.links, key=lambda k: (k.end - k.start, k.start)):
        if link.start >= last or link.end < first:
            continue
        starts, ends = link.start >= first - 1, link.end <= last
        x0 = _fork_x(places[link.start + 1 - first]) if starts else MARGIN - 14
        x1 = join_x(places[link.end - first]) if ends else right + 6
        under = [p.height / 2 for p in places if x0 < p.x < x1]
        inside = [a.rise + PILL * bool(a.link.aside) for a in arcs if a.x0 < x1 and x0 < a.x1]
        rise = max([10.0, *under, *inside]) + LANE + PILL * bool(link.aside)
        arcs.append(Arc(link, x0, x1, rise, starts, ends))
    return tuple(arcs)


def _fork_x(after: Place) -> float:
    """Links leave just before the block that follows their start."""
    return after.x - (after.slot - after.width) / 2 - 8


def join_x(before: Place) -> float:
    """Links arrive just after the block at their end."""
    return before.x + (before.slot + before.width) / 2 + 9


def _slot(block: Block) -> float:
    return max(block_width(block), SLOT, 6 + 5.8 * len(block.label))


def _lead(first: int) -> float:
    """Room for the input's own box at the start of the first row."""
    return 40.0 if first == 0 else 0.0


def _step(strip: Strip, index: int) -> float:
    return _before(strip, index) + _slot(strip.blocks[index]) + _after(strip, index)


def _before(strip: Strip, index: int) -> float:
    return GAP / 2 + FORK_ROOM * any(link.start == index - 1 for link in strip.links)


def _after(strip: Strip, index: int) -> float:
    return GAP / 2 + JOIN_ROOM * any(link.end == index for link in strip.links)
