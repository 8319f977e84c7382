"""The networks of a zoo as what predictors learn from, and those among them that are alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nasplat.channels import unstack_graphs
from nasplat.errors import DataError
from nasplat.metanet.fitting import judged
from nasplat.metanet.groups import grouped
from nasplat.metanet.retrieval import nearest
from nasplat.metanet.statistics import by_row
from nasplat.prediction import Sample
from nasplat.space import Arch
from nasplat.zoo.group import Group
from nasplat.zoo.zoo import Zoo

if TYPE_CHECKING:
    import pandas as pd

Embed: TypeAlias = Callable[[Sequence[Sample]], NDArray[np.float64]]
"""n samples -> codes (n, d), such as the `embed` of a predictor that reads weights."""

PLACES = 16  # of an input whose size a form does not say, such as points of an implicit image


def samples(zoo: Zoo, example: Tensor | None = None) -> list[Sample]:
    """A sample with weights for each network, in order; its architecture is its form and its number.

    example: an input (n, ...) that the networks take; left out, it comes from the forms of a zoo that nasplat trained.
    DataError where neither says it.
    """
    found = []
    for group in zoo.groups:
        graphs = unstack_graphs(group.graph(_example(group) if example is None else example))
        for position, graph in zip(group.positions, graphs, strict=True):
            form: dict[str, Any] = {
                name: value for name, value in group.form.items() if not isinstance(value, list)
            }
            found.append(Sample(Arch({**form, "number": position}), np.zeros(0, np.float32), weights=graph))
    return found


def alike(
    zoo: Zoo, number: int, count: int = 5, embed: Embed | None = None, example: Tensor | None = None
) -> pd.DataFrame:
    """Which trained networks are like this one: rows of the `count` nearest to network `number`, with `distance`,
    and as `network` their own positions in the zoo.

    embed: codes of networks; left out, statistics of weights by row, which any network has (see
    `metanet.statistics.by_row`). example: see `samples`. Distances as `metanet.retrieval.nearest`. IndexError for a
    number that is not there.
    """
    if number not in range(len(zoo)):
        raise IndexError(f"network {number} of a zoo of {len(zoo)}: choose 0 to {len(zoo) - 1}")
    codes = (embed or statistics)(samples(zoo, example))
    places, distances = nearest(codes, codes[[number]], count + 1)
    others = places[0] != number
    table: pd.DataFrame = zoo.table.iloc[places[0][others][:count]].copy()
    table.insert(0, "distance", distances[0][others][:count])
    table.insert(0, "network", table.index)
    return table


def statistics(networks: Sequence[Sample]) -> NDArray[np.float64]:
    """Statistics of weights by row of neurons, (n, d)."""
    graphs = [sample.weights for sample in networks if sample.weights is not None]
    return judged(by_row, grouped(graphs)).double().numpy()


def _example(group: Group) -> Tensor:
    shape = group.form.get("input_shape")
    if shape is not None:
        return torch.zeros(2, *shape)
    if group.form.get("family") == "siren":
        return torch.zeros(PLACES, 2)
    raise DataError(
        f"{group.name} does not say what its networks take: give an example, torch.zeros(2, 3, 32, 32)"
    )
