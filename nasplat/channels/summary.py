"""What tracing found, as a table to read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nasplat.channels.spec import ChannelSpec, Slot
from nasplat.channels.structure import Numbers

SHOWN = 4
"""How many tensors of a space are named; the others are counted."""


def summary(spec: ChannelSpec) -> str:
    """Spaces with size, kind, the blocks they form and the tensors that carry them; then what froze channels, and why.

    `conv1[0]` is axis 0 of the weight of conv1, with its bias; `bn1` stands for all vectors of a norm.
    """
    carried = carriers(spec)
    spaces = [("space", "size", "kind", "in blocks of", "tensors")]
    for space, names in zip(spec.spaces, carried, strict=True):
        parent = spec.spaces[space.parent].name if space.parent is not None else ""
        kind = f"{space.kind}: {space.reason}" if space.reason else space.kind
        spaces.append((space.name, f"{space.size:,}", kind, parent, _listed(names)))
    lines = [_head(spec), *_table(spaces)]
    if spec.frozen:
        rows = [(why.node, why.operation, why.reason) for why in spec.frozen]
        lines += [
            "",
            "Channels keep their order because of",
            *_table([("node", "operation", "reason"), *rows]),
        ]
    known = {slot.parameter for slot in spec.slots}
    rest = [name for name, shape in spec.structure.shapes.items() if shape and name not in known]
    if rest:
        lines += ["", f"Tensors without channels: {_listed(rest)}"]
    return "\n".join(lines)


def carriers(spec: ChannelSpec) -> list[list[str]]:
    """For every space, the axes of tensors that carry it, by module."""
    found: list[dict[str, set[int]]] = [{} for _ in spec.spaces]
    vectors = {vector.parameter for vector in spec.structure.vectors}
    for slot in spec.slots:
        for space in spaces_of(spec, slot.channels):
            axes = found[space].setdefault(_owner(slot), set())
            if slot.parameter not in vectors:
                axes.add(slot.axis)
    return [[_axes(name, axes) for name, axes in names.items()] for names in found]


def spaces_of(spec: ChannelSpec, channels: Numbers) -> list[int]:
    """The numbers of the spaces that some of these channels belong to; -1 belongs to none."""
    starts = np.array([space.start for space in spec.spaces])
    order = np.argsort(starts, kind="stable")
    held = np.unique(channels[channels >= 0])
    return sorted({int(order[n]) for n in np.searchsorted(starts[order], held, side="right") - 1})


def _head(spec: ChannelSpec) -> str:
    form = spec.structure
    hidden = sum(space.kind == "hidden" for space in spec.spaces)
    return (
        f"ChannelSpec: {len(spec.spaces)} spaces of channels, {hidden} of them free to permute; "
        f"graph of {form.nodes:,} nodes and {form.edges:,} edges"
    )


def _owner(slot: Slot) -> str:
    """The module of a tensor, or its own name where it is a parameter that stands alone."""
    module, _, name = slot.parameter.rpartition(".")
    known = ("weight", "bias", "running_mean", "running_var")
    return module if module and name in known else slot.parameter


def _axes(name: str, axes: set[int]) -> str:
    return f"{name}[{','.join(map(str, sorted(axes)))}]" if axes else name


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns side by side, two spaces apart; numbers to the right; columns in which nothing stands are left out."""
    columns = [column for column in zip(*rows, strict=True) if any(column[1:])]
    padded = []
    for column in columns:
        width = max(map(len, column))
        right = all(cell.replace(",", "").isdigit() for cell in column[1:])
        padded.append([cell.rjust(width) if right else cell.ljust(width) for cell in column])
    return ["  " + "  ".join(row).rstrip() for row in zip(*padded, strict=True)]
