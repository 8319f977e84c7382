"""Elastic spaces: one elastic network, its supernet, and fresh ordinary networks of its architectures."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from operator import attrgetter
from typing import Any, Self, TypeAlias

import torch
from torch import Tensor, nn

from nasplat.elastic.extraction import bare_tensors, inline, outline
from nasplat.elastic.layers.base import Restricted
from nasplat.errors import NasplatError
from nasplat.space import Arch, Choice, Space, Value

Sharing: TypeAlias = Callable[[nn.Module, "ElasticSpace"], None]
"""Edits a fresh supernet of a space in place: other weight sources, and what they have in common.

It draws from torch's random numbers, which the space has seeded.
"""


class ElasticSpace(Space):
    """A space whose architectures are the subnets of one elastic network.

    `network` makes the network with all its weights, to be called as net(x, arch). `recipe` holds this family's
    own defaults for training (keys of `nasplat.supernet.Recipe`); what a user sets goes before them. With a
    `vocabulary` the inputs are int64 tokens below it, as for a language model, instead of float images. `default` names
    the values of the network that the family is known by, such as the published one.
    """

    def __init__(
        self,
        name: str,
        choices: Sequence[Choice],
        *,
        network: Callable[[], nn.Module],
        input_shape: tuple[int, ...] | None = None,
        constants: Mapping[str, Any] | None = None,
        recipe: Mapping[str, Any] | None = None,
        vocabulary: int | None = None,
        default: Mapping[str, Value] | None = None,
    ) -> None:
        super().__init__(name, choices, input_shape=input_shape, constants=constants)
        self.network = network
        self.recipe = dict(recipe or {})
        self.vocabulary = vocabulary
        self.sharing: Sharing | None = None
        self._default = dict(default or {})

    @property
    def description(self) -> dict[str, Any]:
        """The space as plain JSON, with its vocabulary where it has one; the recipe changes no network."""
        extra = {} if self.vocabulary is None else {"vocabulary": self.vocabulary}
        return super().description | extra

    @property
    def has_networks(self) -> bool:
        """Always: the subnets."""
        return True

    def default(self) -> Arch:
        """The architecture that the family is known by; what it does not name, or is restricted away, is largest."""
        named = self._default
        return self._walk(lambda c: named[c.name] if named.get(c.name) in c.values else c.largest)

    def supernet(self, seed: int = 0) -> nn.Module:
        """The elastic network on the CPU with fresh weights, called as net(x, arch); no other draw is moved."""
        with _seeded(seed):
            net = self._checked(self.network())
            if self.sharing is not None:
                self.sharing(net, self)
            return net

    def shared(self, sharing: Sharing) -> Self:
        """The same space, with a supernet whose weights are shared in another way.

        Its ordinary networks are the same, and so are its hash and the keys of its architectures.
        A mixture that reads architectures is made for the choices that the space has when its supernet is: restrict
        the space before the supernet is made, or not at all.
        """
        space = copy.copy(self)
        space.sharing = sharing
        return space

    def build(self, arch: Mapping[str, Value], seed: int = 0) -> nn.Module:
        """The network of one architecture with fresh weights, as plain torch.nn layers, called as module(x).

        The supernet is only made without storage, and what is allocated is the subnet; but for a network that reads
        parameters or buffers of its own, outside any layer: those are the ones of `supernet(seed)`.
        """
        self.validate(arch)
        sketch = outline(self._blueprint, self.arch(arch))
        own = {name: attrgetter(name)(sketch) for name in bare_tensors(sketch)}
        if any(tensor.is_meta for tensor in own.values()):
            net = self.supernet(seed)
            own |= {name: attrgetter(name)(net) for name, tensor in own.items() if tensor.is_meta}
        module = sketch.to_empty(device="cpu")
        reset_parameters(module, seed, given=own)
        return inline(module)

    def check(self) -> None:
        """Raise NasplatError in one line when the network cannot be made, or takes no size that a choice gives."""
        _ = self._blueprint

    @cached_property
    def _blueprint(self) -> nn.Module:
        with torch.device("meta"):
            return self._checked(self.network())

    def _checked(self, net: nn.Module) -> nn.Module:
        for layer in net.modules():
            if isinstance(layer, Restricted):
                layer.check(self.choices)
        return net


@torch.no_grad()
def reset_parameters(module: nn.Module, seed: int, *, given: Mapping[str, Tensor] | None = None) -> None:
    """Draw all weights of a module on the CPU anew, each layer by its own torch.nn rule; no other draw is moved.

    given: values of some parameters and buffers, by name, that are not drawn. NasplatError for a layer with other
    weights or buffers and no `reset_parameters`.
    """
    given = given or {}
    with _seeded(seed):
        for name, layer in module.named_modules():
            reset = getattr(layer, "reset_parameters", None) or getattr(layer, "_reset_parameters", None)
            if reset is not None:
                reset()
            elif not _weights(layer, name) <= given.keys():
                kind = type(layer).__name__
                raise NasplatError(
                    f"{name or 'the network'} ({kind}) holds weights: give it reset_parameters()"
                )

    for name, value in given.items():
        attrgetter(name)(module).copy_(value)


def _weights(layer: nn.Module, name: str) -> set[str]:
    """The names in the whole of the parameters and buffers that a layer itself holds."""
    own = [*layer.named_parameters(name, recurse=False), *layer.named_buffers(name, recurse=False)]
    return {full for full, _ in own}


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
