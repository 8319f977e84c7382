"""Another way of sharing weights for a network that is there: its sources are replaced, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import nn

from nasplat.elastic.weights.sources import Router, WeightSource
from nasplat.errors import NasplatError

SHARING = "sharing"
"""The name, in a network, of what says for all layers how their weights are shared."""
SHARED = "shared_weights"
"""The name of weights that are no single layer's."""


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


def mixes_already(name: str, router: Router) -> NasplatError:
    """What to say of a layer whose coefficients leave no room for another way of sharing."""
    return NasplatError(
        f"{name} mixes its weights already ({type(router).__name__}): leave it out of `layers`"
    )


def register(net: nn.Module, name: str, module: nn.Module) -> None:
    """Put what several layers have in common into the network once; sources hold it by a plain object.

    So its state has one name, and is moved and copied with the network. NasplatError where the name is taken.
    """
    if hasattr(net, name):
        raise NasplatError(f"the network has a {name!r} already: rename it to share weights in this way")
    net.add_module(name, module)
