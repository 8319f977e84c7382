"""Another way of sharing weights for a network that is there: its sources are replaced, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import nn

from nasplat.elastic.weights.sources import WeightSource
from nasplat.errors import NasplatError


@dataclass(frozen=True, slots=True)
class Place:
    """Where a source sits: attribute `attribute` of the layer `layer`, whose name in the network is `name`."""

    name: str
    layer: nn.Module
    attribute: str

    @property
    def source(self) -> WeightSource:
        """The source that is there now."""
        source: WeightSource = getattr(self.layer, self.attribute)
        return source

    def put(self, source: WeightSource) -> None:
        """Replace it."""
        setattr(self.layer, self.attribute, source)


def places(net: nn.Module, patterns: Sequence[str] = ("*",)) -> list[Place]:
    """The sources of the layers whose names match one of the patterns, such as "*.feed_forward.*", in order.

    NasplatError names the patterns that no layer matches, and a few of the layers.
    """
    found = list(_all_places(net))
    for pattern in patterns:
        if not any(fnmatchcase(place.name, pattern) for place in found):
            names = ", ".join(place.name for place in found[:5])
            raise NasplatError(f"no elastic layer matches {pattern!r}: there are {names or 'none'}, ...")
    return [place for place in found if any(fnmatchcase(place.name, pattern) for pattern in patterns)]


def _all_places(net: nn.Module) -> Iterator[Place]:
    for name, layer in net.named_modules():
        if isinstance(layer, WeightSource):
            continue
        for attribute, child in layer.named_children():
            if isinstance(child, WeightSource):
                yield Place(name, layer, attribute)


def replace_sources(
    net: nn.Module, make: Callable[[Place], WeightSource], patterns: Sequence[str] = ("*",)
) -> None:
    """Give the layers that match a new source each; `make` sees where, and the old one with its slot and crop."""
    for place in places(net, patterns):
        place.put(make(place))
