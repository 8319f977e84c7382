"""A plan: what stays of a network, as data."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from nasplat.channels import ChannelSpec
from nasplat.channels.permutation import channels
from nasplat.errors import NasplatError
from nasplat.files import write_atomic
from nasplat.prune.cutting import Cut, cut_module
from nasplat.prune.masked import Kept

if TYPE_CHECKING:
    from matplotlib.figure import Figure

M = TypeVar("M", bound=nn.Module)
KIND = "nasplat pruning plan 1"


@dataclass(frozen=True, slots=True)
class PrunedGroup:
    """A group of channels: its name and kind, see `nasplat.prune.groups.Group`; how many units it had; the places that
    stay in each of its rows, none in the row of a block that goes. reason: why it stays whole, where it had to."""

    name: str
    kind: str
    before: int
    kept: tuple[tuple[int, ...], ...]
    reason: str = ""

    @property
    def after(self) -> int:
        """The units that stay."""
        return max(map(len, self.kept)) if self.kept else self.before


@dataclass(frozen=True, slots=True, repr=False)
class Plan:
    """What stays of a network.

    groups: of channels, frozen ones with the reason. cuts: what stays of every tensor that loses something, by name.
    attributes: sizes to set, by name of the submodule. score and target: in words. macs (for one input), params and
    latency_ms: before and after, where they are known. seconds: what the planning took. origin: whatever else is to be
    known, such as a device; plain JSON.
    """

    network: str
    groups: tuple[PrunedGroup, ...]
    cuts: Mapping[str, tuple[Cut, ...]]
    attributes: Mapping[str, Mapping[str, Any]]
    score: str = ""
    target: str = ""
    params: tuple[int, int] | None = None
    macs: tuple[int, int] | None = None
    latency_ms: tuple[float, float] | None = None
    seconds: float = 0.0
    origin: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        from nasplat.prune.picture import table

        return table(self)

    @property
    def speedup(self) -> float | None:
        """Multiply-adds before over after."""
        return self.macs[0] / max(1, self.macs[1]) if self.macs else None

    @property
    def frozen(self) -> dict[str, str]:
        """Groups that stay whole and why, by name."""
        return {group.name: group.reason for group in self.groups if group.reason}

    def apply(self, module: M) -> M:
        """A smaller copy of the network that was planned, or of one of its form; the module is left as it is.

        NasplatError: a module with other tensors.
        """
        return cut_module(module, self.cuts, self.attributes)

    def kept(self, spec: ChannelSpec) -> Kept:
        """Which channels stay, (channels,), by the spec of the network that was planned; blocks, if they hold any."""
        found = np.ones(channels(spec) + 1, dtype=bool)
        for slot in spec.slots:
            for cut in self.cuts.get(slot.parameter, ()):
                if cut.axis == slot.axis:
                    gone = np.ones(slot.channels.shape, dtype=bool)
                    for row, stay in zip(gone, cut.keep, strict=True):
                        row[list(stay)] = False
                    found[slot.channels[gone]] = False
        for number, space in enumerate(spec.spaces):
            held = [
                found[s.start : s.stop].reshape(space.size, -1) for s in spec.spaces if s.parent == number
            ]
            if held:  # blocks stand in no tensor themselves
                found[space.start : space.stop] &= np.concatenate(held, axis=1).any(axis=1)
        return found[:-1]

    def masks(self, module: nn.Module) -> dict[str, Tensor]:
        """Of every parameter that loses something a mask of its shape, on the CPU: False at what goes."""
        shapes = {name: tensor.shape for name, tensor in module.named_parameters()}
        return {name: _mask(shapes[name], cuts) for name, cuts in self.cuts.items() if name in shapes}

    def diff(self, other: Plan) -> dict[str, tuple[int, int]]:
        """Groups of which the two leave different numbers: name -> (here, there)."""
        there = {group.name: group.after for group in other.groups}
        return {
            group.name: (group.after, there.get(group.name, group.before))
            for group in self.groups
            if group.after != there.get(group.name, group.before)
        }

    def picture(self, path: str | Path | None = None) -> Figure:
        """Widths before and after as bars; saved at path."""
        from nasplat.prune.picture import draw_widths

        return draw_widths(self, path)

    def as_json(self) -> dict[str, Any]:
        """Plain JSON, which `from_json` reads."""
        entry = asdict(self)
        entry["cuts"] = {
            name: [{"axis": c.axis, "size": c.size, "keep": c.keep} for c in cuts]
            for name, cuts in self.cuts.items()
        }
        return {"kind": KIND, **json.loads(json.dumps(entry, allow_nan=False))}

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Self:
        """NasplatError: what is no plan, or one that is damaged."""
        if entry.get("kind") != KIND:
            raise NasplatError(f"no pruning plan: its kind is {entry.get('kind')!r}, expected {KIND!r}")
        try:
            return cls(
                network=str(entry["network"]),
                groups=tuple(_group(one) for one in entry["groups"]),
                cuts={name: tuple(_cut(name, one) for one in cuts) for name, cuts in entry["cuts"].items()},
                attributes=dict(entry["attributes"]),
                score=str(entry["score"]),
                target=str(entry["target"]),
                params=_pair(entry["params"], int),
                macs=_pair(entry["macs"], int),
                latency_ms=_pair(entry["latency_ms"], float),
                seconds=float(entry["seconds"]),
                origin=dict(entry["origin"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise NasplatError(f"a pruning plan that is not whole: {error!r}; plan again") from error

    def save(self, path: str | Path) -> None:
        """Write it as JSON."""
        write_atomic(Path(path), json.dumps(self.as_json(), indent=1) + "\n")


def load_plan(path: str | Path) -> Plan:
    """The plan in a file. NasplatError: no such file, or no plan."""
    try:
        entry = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise NasplatError(f"{path} cannot be read as a pruning plan: {error}") from error
    if not isinstance(entry, dict):
        raise NasplatError(f"{path} is no pruning plan: expected a JSON object")
    return Plan.from_json(entry)


def _mask(shape: Sequence[int], cuts: Sequence[Cut]) -> Tensor:
    mask = torch.ones(tuple(shape), dtype=torch.bool)
    for cut in cuts:
        parts = mask.chunk(len(cut.keep)) if len(cut.keep) > 1 else (mask,)
        for part, stay in zip(parts, cut.keep, strict=True):
            gone = torch.ones(cut.size, dtype=torch.bool)
            gone[list(stay)] = False
            part.movedim(cut.axis, 0)[gone] = False
    return mask


def _group(entry: Mapping[str, Any]) -> PrunedGroup:
    kept = tuple(tuple(int(place) for place in row) for row in entry["kept"])
    return PrunedGroup(
        str(entry["name"]), str(entry["kind"]), int(entry["before"]), kept, str(entry["reason"])
    )


def _cut(name: str, entry: Mapping[str, Any]) -> Cut:
    keep = tuple(tuple(int(place) for place in row) for row in entry["keep"])
    axis, size = int(entry["axis"]), int(entry["size"])
    rising = all(a < b for row in keep for a, b in pairwise((-1, *row, size)))
    if axis < 0 or not keep or not rising:
        raise ValueError(f"places of {name!r} on axis {axis} that do not rise from 0 to {size - 1}")
    return Cut(name, axis, size, keep)


def _pair(entry: Any, kind: Any) -> Any:
    return None if entry is None else (kind(entry[0]), kind(entry[1]))
