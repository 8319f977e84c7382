"""A network that was traced and probed: which groups of channels may go, and what is left then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nasplat.channels import ChannelSpec, channel_spec
from nasplat.channels.permutation import channels
from nasplat.channels.tracing import Example
from nasplat.errors import NasplatError, expected_one_of
from nasplat.measure.size import evaluating
from nasplat.prune.adapting import Attribute, resized
from nasplat.prune.costs import Sizes, count
from nasplat.prune.cutting import copied, cut_module, cuts_of
from nasplat.prune.groups import Group, find_groups, spared
from nasplat.prune.masked import Kept, checked_kept
from nasplat.prune.plan import Plan, PrunedGroup
from nasplat.prune.probing import Prober


@dataclass(frozen=True, slots=True)
class Choice:
    """What may go: see `nasplat.prune.planning.PruneSettings`, whose fields these are."""

    keep: tuple[str, ...] = ()
    trust: tuple[str, ...] = ()
    blocks: bool = True
    inside: bool = True
    seed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Prunable:
    """groups: those that may be cut; frozen: the others, and operations that are not known, with reasons.

    counted: multiply-adds for one input by the weight they are proportional to; closed: whether they all are, so that
    those of any widths follow without building a network. prober: what tries a cut before it is believed. shadow: the
    same without values, where they are counted else; None for a network that does not run without values.
    """

    module: nn.Module
    examples: tuple[Tensor, ...]
    spec: ChannelSpec
    groups: tuple[Group, ...]
    whole: tuple[Group, ...]
    frozen: Mapping[str, str]
    attributes: tuple[Attribute, ...]
    sizes: Sizes
    counted: Mapping[str, int]
    prober: Prober
    closed: bool = False
    shadow: Prunable | None = None

    @property
    def channels(self) -> int:
        """How many channels the spec numbers."""
        return channels(self.spec)

    @property
    def everything(self) -> Kept:
        """All channels stay."""
        return np.ones(self.channels, dtype=bool)

    def params(self, kept: Kept) -> int:
        """Trained parameters that stay."""
        return self.sizes.params(kept)

    def macs(self, kept: Kept) -> float:
        """Multiply-adds for one input, as `nasplat.count_macs` counts them."""
        if self.closed:
            return self.sizes.macs(kept, self.counted)
        where = self.shadow or self
        return float(_macs(where.build(kept), where.examples))

    def build(self, kept: Kept) -> nn.Module:
        """The smaller network; its weights are copies."""
        cuts = cuts_of(self.spec, kept)
        return cut_module(self.module, cuts, self._sizes(kept))

    def plan(self, kept: Kept, **facts: Any) -> Plan:
        """What stays, as data. facts: further fields of the plan, such as score and target.

        NasplatError: `kept` is no array of bools (channels,), takes different numbers from groups of a convolution, or
        leaves a network that is not the masked one, as where the code depends on exact widths.
        """
        kept = checked_kept(self.spec, kept)
        smaller = [group for group in self.groups if not kept[group.rows].all()]
        if fault := self.prober.fault_of(self.groups, self.attributes, kept) if smaller else "":
            raise NasplatError(
                f"cut to these widths the network is not the masked one: {fault}; its code depends on exact widths, so "
                f"keep one of {', '.join(group.name for group in smaller[:3])}"
            )
        macs = (round(self.macs(self.everything)), round(self.macs(kept)))
        return Plan(
            network=type(self.module).__name__,
            groups=(*(_pruned(group, kept) for group in self.groups), *self._frozen()),
            cuts=cuts_of(self.spec, kept),
            attributes=self._sizes(kept),
            params=(self.params(self.everything), self.params(kept)),
            macs=macs,
            **facts,
        )

    def _frozen(self) -> list[PrunedGroup]:
        own = {group.name: group for group in self.whole}
        return [
            PrunedGroup(
                name, own[name].kind if name in own else "", own[name].size if name in own else 0, (), reason
            )
            for name, reason in self.frozen.items()
        ]

    def _sizes(self, kept: Kept) -> dict[str, dict[str, Any]]:
        left = {group.name: group.size for group in self.whole}
        left |= {name: group.left(kept) for group in self.groups for name in (group.name, *group.parts)}
        return resized(self.module, self.examples, cuts_of(self.spec, kept), self.attributes, left)


def prunable(module: nn.Module, example: Example, choice: Choice = Choice()) -> Prunable:
    """Trace a network and try which of its channels may go; the module is left as it was.

    example: its input, or inputs. NasplatError: it cannot be traced or copied, or does not take the example.
    """
    if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
        raise NasplatError(
            f"{type(module).__name__} spreads a network over devices; give the one in it, its .module"
        )
    spec = channel_spec(module, example)
    with evaluating(module):
        return _probed(module, (example,) if isinstance(example, Tensor) else tuple(example), spec, choice)


def _probed(module: nn.Module, examples: tuple[Tensor, ...], spec: ChannelSpec, choice: Choice) -> Prunable:
    whole = find_groups(spec)
    names = [group.name for group in whole]
    _check_patterns("keep", choice.keep, names, [*dict(module.named_modules()), *spec.structure.shapes])
    _check_patterns("trust", choice.trust, names, [])
    stay = spared(spec, whole, choice.keep)
    wanted = [g for g in whole if g.name not in stay and (choice.blocks or g.kind != "blocks")]
    wanted = [g for g in wanted if choice.inside or g.kind != "inside"]
    trust = frozenset(g.name for g in whole if any(fnmatchcase(g.name, p) for p in choice.trust))
    lively = tuple(_lively(one, choice.seed) for one in examples)
    alive, inputs = _sharp(_alive(module, choice.seed), lively)
    prober = Prober(alive, inputs, spec, tuple(wanted), trust, _trained(spec), choice.seed)
    found = prober.probe()
    frozen = {space.name: space.reason for space in spec.spaces if space.kind == "frozen"}
    frozen |= {
        why.node: f"{why.operation}: {why.reason}" for why in spec.frozen if why.operation == "parameter"
    }
    frozen |= dict.fromkeys(sorted(stay), "it was asked to stay")
    sizes = Sizes.of(module, spec)
    counted = _counted(module, examples)
    free = Prunable(
        module, examples, spec, found.free, tuple(whole), {**frozen, **found.frozen}, found.attributes, sizes, counted,
        prober,
    )  # fmt: skip
    free = _closed(free, found.tried, inputs)
    return free if free.closed else replace(free, shadow=_shadow(free))


def _check_patterns(what: str, patterns: Sequence[str], groups: Sequence[str], others: Sequence[str]) -> None:
    """NasplatError: a pattern that fits nothing."""
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in (*groups, *others)):
            modules = "module, parameter or " if others else ""
            raise NasplatError(
                f"{what} names {pattern!r}, which is no {modules}group; {expected_one_of(pattern, groups)}"
            )


def _pruned(group: Group, kept: Kept) -> PrunedGroup:
    stay = tuple(tuple(np.flatnonzero(kept[row]).tolist()) for row in group.rows)
    return PrunedGroup(group.name, group.kind, group.size, stay)


def _closed(free: Prunable, tried: tuple[Kept, nn.Module] | None, inputs: Sequence[Tensor]) -> Prunable:
    """With the closed formula, where it says of other widths what counting says. inputs: of the network tried."""
    if free.counted.get("", 0) or tried is None:
        return free
    kept, cut = tried
    formula, counted = free.sizes.macs(kept, free.counted), _macs(cut, inputs)
    return replace(free, closed=abs(formula - counted) <= 1.0 + 1e-9 * counted)


def _shadow(network: Prunable) -> Prunable | None:
    """Without values, if it costs there what it costs here: then only shapes are computed."""
    tensors = (*network.module.parameters(), *network.module.buffers())
    module = copied(
        network.module, {id(tensor): _empty(tensor) for tensor in tensors}
    )  # what is shared stays so
    examples = tuple(one.to("meta") for one in network.examples)
    with suppress(Exception):  # some networks keep tensors that do not move with them
        if _macs(module, examples) == sum(network.counted.values()):
            return replace(network, module=module, examples=examples)
    return None


def _empty(tensor: Tensor) -> Tensor:
    found = tensor.detach().to("meta")
    return nn.Parameter(found, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else found


def _counted(module: nn.Module, examples: Sequence[Tensor]) -> dict[str, int]:
    """Multiply-adds for one input: of the first row, where there is one input and the network takes it alone; else of
    a batch over its size."""
    with evaluating(module):
        if len(examples) == 1:
            with suppress(Exception):  # some networks are written for batches of one size
                return count(module, lambda: module(examples[0][:1]))[1]
        _, counted = count(module, lambda: module(*examples))
    return {name: macs // max(1, len(examples[0])) for name, macs in counted.items()}


def _macs(module: nn.Module, examples: Sequence[Tensor]) -> int:
    return sum(_counted(module, examples).values())


def _trained(spec: ChannelSpec) -> bool:
    """Whether the network has parameters that nothing reads in evaluation mode."""
    return any(why.operation == "parameter" and why.reason.startswith("nothing reads") for why in spec.frozen)


def _lively(example: Tensor, seed: int) -> Tensor:
    """Random numbers in place of an example of real ones; other types say what they say."""
    if not example.is_floating_point():
        return example
    random = torch.Generator().manual_seed(seed)
    return torch.randn(example.shape, generator=random, dtype=example.dtype).to(example.device)


def _sharp(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """A network of half precision in single, where it runs there: rounding hides wrong channels. All others as they
    are."""
    short = {torch.float16, torch.bfloat16}
    if short.isdisjoint(tensor.dtype for tensor in (*module.state_dict().values(), *inputs)):
        return module, inputs
    single = copied(module).float()
    floats = tuple(one.float() if one.is_floating_point() else one for one in inputs)
    try:
        with torch.no_grad():
            single(*floats)
    except Exception:  # its code names a precision
        return module, inputs
    return single, floats


def _alive(module: nn.Module, seed: int) -> nn.Module:
    """A copy whose vectors of equal numbers, such as fresh norms, are different ones: a wrong place then shows."""
    found = copied(module).eval()
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in found.state_dict(keep_vars=True).values():
            real = isinstance(tensor, Tensor) and tensor.is_floating_point() and tensor.numel() > 1
            if real and bool(tensor.min() == tensor.max()):
                tensor.copy_(torch.rand(tensor.shape, generator=random, dtype=tensor.dtype) + 0.5)
    return found
