"""What a network of some widths costs: parameters and multiply-adds by closed formula, anything else by building it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from nasplat.channels import ChannelSpec, Slot, named_tensors
from nasplat.measure.size import visible_attention
from nasplat.prune.masked import Kept

Cost: TypeAlias = Callable[[Kept], float]
"""What the network costs that keeps these channels, (channels,)."""


@dataclass(frozen=True, slots=True, eq=False)
class Sizes:
    """How many elements of each tensor stay: by name its slots, its shape, and which of its tensors are trained."""

    slots: Mapping[str, tuple[Slot, ...]]
    shapes: Mapping[str, tuple[int, ...]]
    trained: frozenset[str]

    @classmethod
    def of(cls, module: nn.Module, spec: ChannelSpec) -> Sizes:
        by_name: dict[str, list[Slot]] = {}
        for slot in spec.slots:
            by_name.setdefault(slot.parameter, []).append(slot)
        tensors = named_tensors(module)
        parameters = {id(p) for p in module.parameters() if p.requires_grad}
        trained = {n for n, t in module.state_dict(keep_vars=True).items() if id(t) in parameters}
        return cls(
            {name: tuple(slots) for name, slots in by_name.items()},
            {name: tuple(tensor.shape) for name, tensor in tensors.items()},
            frozenset(trained & set(tensors)),
        )

    def left(self, name: str, kept: Kept) -> int:
        """The elements of a tensor that stay."""
        shape, slots = self.shapes[name], self.slots.get(name, ())
        flags = np.append(kept, True)  # places of no channel have the number -1
        other = math.prod(size for axis, size in enumerate(shape) if all(slot.axis != axis for slot in slots))
        stay = {slot.axis: flags[slot.channels] for slot in slots}
        groups = next((rows for rows in stay.values() if len(rows) > 1), None)
        for axis, rows in stay.items():
            if len(rows) == 1 and (axis or groups is None):
                other *= int(rows.sum())
        if groups is None:
            return other
        outer = stay[0].reshape(len(groups), -1).sum(1) if 0 in stay else shape[0] // len(groups)
        return other * int((outer * groups.sum(1)).sum())

    def params(self, kept: Kept) -> int:
        """Trained parameters."""
        return sum(self.left(name, kept) for name in self.trained)

    def macs(self, kept: Kept, counted: Mapping[str, int]) -> float:
        """Multiply-adds that are proportional to weights; counted: those of whole tensors, by name."""
        return sum(
            macs * self.left(name, kept) / max(1, math.prod(self.shapes[name]))
            for name, macs in counted.items()
        )


class Counter(TorchDispatchMode):
    """Counts multiply-adds of what runs under it, by the weight that they use; "" for those of none or of several."""

    def __init__(self, names: Mapping[int, str]) -> None:
        super().__init__()
        self.memory = dict(names)
        self.counted: dict[str, int] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        result = func(*args, **given)
        packet = func._overloadpacket
        if packet in flop_registry:
            flops = flop_registry[packet](*args, **given, out_val=result)
            names = {name for one in args if isinstance(one, Tensor) and (name := self._name(one))}
            name = names.pop() if len(names) == 1 else ""
            self.counted[name] = self.counted.get(name, 0) + int(flops) // 2
        return result

    def _name(self, tensor: Tensor) -> str:
        return self.memory.get(tensor.untyped_storage().data_ptr(), "")


def count(module: nn.Module, run: Callable[[], Any]) -> tuple[Any, dict[str, int]]:
    """What `run` gives, and the multiply-adds that it takes by the name of the weight; "" for all others.

    Products of two activations (attention) and of computed weights belong to no weight.
    """
    weights = {name: tensor for name, tensor in named_tensors(module).items() if tensor.ndim > 1}
    names = {tensor.untyped_storage().data_ptr(): name for name, tensor in weights.items()}
    counter = Counter(names)
    with visible_attention(), torch.no_grad(), counter:
        result = run()
    return result, counter.counted
