"""What a way of sharing costs: parameters, memory for training, and whether weights are computed or only cut out.

sharing_costs(space, [{"kind": "slice"}, {"kind": "dealt", "experts": 4}])
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from nasplat.elastic import Constant, ElasticSpace, OneHot, Router, WeightSource
from nasplat.elastic.meter import without_storage
from nasplat.elastic.weights.assigned import Assigned
from nasplat.elastic.weights.replace import SHARING
from nasplat.supernet.mixtures import Mixture, make_mixture
from nasplat.supernet.recipe import Recipe, make_optimiser

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class SharingCost:
    """What the supernet of a space costs with some way of sharing.

    banks, routers, rest: its parameters, those of the weight sources, of what mixes their atoms, and all others.
    plain: parameters of the same supernet as the family makes it. training_bytes: weights, their gradients and the
    optimiser's state, when all of them are in use. merge_macs: multiply-adds by which weights of full size are
    merged for an architecture before it runs, however many inputs there are; 0 where they are only picked and cut out.
    """

    banks: int
    routers: int
    rest: int
    plain: int
    training_bytes: int
    merge_macs: int

    @property
    def parameters(self) -> int:
        """All of them."""
        return self.banks + self.routers + self.rest

    @property
    def ratio(self) -> float:
        """Parameters in relation to those of the family's own supernet."""
        return self.parameters / self.plain

    def __str__(self) -> str:
        merged = f"merging takes {self.merge_macs:,} multiply-adds an architecture" if self.merge_macs else ""
        counted = f"{self.parameters:,} parameters ({self.ratio:.2f} times those of plain slicing)"
        return ", ".join(filter(None, [counted, f"{_mib(self.training_bytes)} to train", merged]))


def sharing_cost(space: ElasticSpace, mixture: Mixture, recipe: Recipe) -> SharingCost:
    """The cost of a mixture in a space, found on the `meta` device: nothing is allocated.

    NasplatError for a mixture that does not fit the space.
    """
    net = sketch(space.shared(mixture.apply))
    sources = [module for module in net.modules() if isinstance(module, WeightSource)]
    banks, routers, every = _numel(_banks(sources)), _numel(_routers(net, sources)), _numel(net.parameters())
    return SharingCost(
        banks=banks,
        routers=routers,
        rest=every - banks - routers,
        plain=_numel(without_storage(space).parameters()),
        training_bytes=_training_bytes(net, recipe),
        merge_macs=sum(_merge_macs(source) for source in sources),
    )


def sketch(space: ElasticSpace) -> nn.Module:
    """The supernet of a space on the `meta` device, with its way of sharing; NasplatError where that does not fit."""
    with torch.device("meta"):
        return space.supernet()


def sharing_costs(space: ElasticSpace, mixtures: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """What ways of sharing cost in a space: a row for each table as a study file has it; nothing is allocated.

    Columns: mixture, parameters, banks, routers, rest, ratio, training_bytes (by SGD with momentum), merge_macs; see
    `SharingCost`. NasplatError for a table that makes no mixture, or one that does not fit the space.
    """
    import pandas as pd

    rows = []
    for table in mixtures:
        cost = sharing_cost(space, make_mixture(table), Recipe())
        figures = ("parameters", "banks", "routers", "rest", "ratio", "training_bytes", "merge_macs")
        rows.append({"mixture": _spelled(table)} | {name: getattr(cost, name) for name in figures})
    return pd.DataFrame(rows)


def _banks(sources: Iterable[WeightSource]) -> list[nn.Parameter]:
    return [parameter for source in sources for parameter in source.bank.parameters()]


def _routers(net: nn.Module, sources: Iterable[WeightSource]) -> list[nn.Parameter]:
    """Of routers that are modules; what all layers have in common is at the root."""
    modules = [getattr(net, SHARING, None), *(source.router for source in sources)]
    return [p for module in modules if isinstance(module, nn.Module) for p in module.parameters()]


def _numel(parameters: Iterable[Tensor]) -> int:
    """Numbers in all of them; what several layers share counts once."""
    return sum({id(parameter): parameter.numel() for parameter in parameters}.values())


def _training_bytes(net: nn.Module, recipe: Recipe) -> int:
    """Weights, gradients, and the state that the optimiser has after a step without storage."""
    optimiser = make_optimiser(net, recipe)
    trained: list[nn.Parameter] = [p for group in optimiser.param_groups for p in group["params"]]
    for parameter in trained:
        parameter.grad = torch.empty_like(parameter)
    optimiser.step()
    values = [value for state in optimiser.state.values() for value in state.values()]
    held = [value for value in values if isinstance(value, Tensor) and value.is_meta]  # a step count is not
    return sum(tensor.nbytes for tensor in (*net.parameters(), *trained, *held))


def _merge_macs(source: WeightSource) -> int:
    """A multiplication and an addition for each number of each atom that is merged."""
    sizes = source.bank.slot.tensors.values()
    return _merged(source.router, len(source.bank)) * sum(prod(d.maximum for d in tensor) for tensor in sizes)


def _merged(router: Router, atoms: int) -> int:
    """How many of the atoms are merged into a weight; 0 where one is taken as it is.

    What router it is tells: asking it would take values, which may be in buffers.
    """
    if isinstance(router, OneHot):
        return 0
    if isinstance(router, Assigned):
        return _merged(router.own, atoms // router.shared.experts)
    if isinstance(router, Constant):
        used = [c for c in router.coefficients if c != 0.0]
        return 0 if used == [1.0] else len(used)
    return atoms


def _mib(size: int) -> str:
    return f"{size / 2**20:,.3g} MiB"


def _spelled(table: Mapping[str, Any]) -> str:
    """A table in one cell: its kind, then its keys.

    >>> _spelled({"kind": "dealt", "experts": 4})
    'dealt, experts = 4'
    """
    keys = [f"{key} = {value}" for key, value in table.items() if key != "kind"]
    return ", ".join([str(table.get("kind")), *keys])
