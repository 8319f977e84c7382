"""Which axis of which tensor belongs to which channels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nasplat.channels.structure import GraphStructure, Numbers

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class ChannelSpace:
    """Channels start to stop, which may be permuted among themselves without changing what the network computes,
    provided that every tensor tied to them is permuted alike.

    kind: "hidden"; "input" and "output", whose order has a meaning; "frozen", whose order may have one: reason says
    which operation froze it.
    parent: the number of the space of blocks that these channels form, or None. Block b holds `size / parent's size`
    channels, and a permutation takes blocks to blocks as the parent's does: heads of attention, groups of convolutions.
    """

    name: str
    start: int
    stop: int
    kind: str = "hidden"
    reason: str = ""
    parent: int | None = None

    @property
    def size(self) -> int:
        """The number of channels."""
        return self.stop - self.start


@dataclass(frozen=True, slots=True, eq=False)
class Slot:
    """One axis of a tensor that carries channels: channels (groups, length) are channel numbers.

    A plain axis has one group. Axis 1 of a grouped convolution's weight has one row for each group, which
    axis 0 divides evenly. Runs, repeats (a flattened channel stands several times in a row) and offsets (a
    concatenation) are what the numbers say.
    """

    parameter: str
    axis: int
    channels: Numbers


@dataclass(frozen=True, slots=True)
class Frozen:
    """Why channels were frozen: the graph node, its operation, what is not known, and the spaces it holds."""

    node: str
    operation: str
    reason: str


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ChannelSpec:
    """What tracing found: spaces of channels, slots of tensors, frozen operations, and the form of the graph.

    channel_of (nodes,): the channel of every neuron of `structure`. Several neurons share a channel where additions,
    products or shared modules tie them.
    """

    spaces: tuple[ChannelSpace, ...]
    slots: tuple[Slot, ...]
    frozen: tuple[Frozen, ...]
    structure: GraphStructure
    channel_of: Numbers

    def __repr__(self) -> str:
        from nasplat.channels.summary import summary

        return summary(self)

    def picture(self, path: str | Path | None = None) -> Figure:
        """Rows of neurons, what they share and what connects them, see `nasplat.channels.picture`; saved at path."""
        from nasplat.channels.picture import draw_channels

        return draw_channels(self, path)
