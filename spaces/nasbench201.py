"""NAS-Bench-201: every cell of four nodes and five operations, all 15,625 of which were trained.

The space of "NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture Search" (arXiv:2001.00326): a cell
has one of OPERATIONS on each of its six edges, the choices edge01, edge02, edge12, edge03, edge13 and edge23. The
network is a 3x3 convolution, three stages of equal cells with residual blocks that halve the image between them, and a
linear classifier. The tables of the field name a cell by

    |nor_conv_3x3~0|+|none~0|skip_connect~1|+|skip_connect~0|none~1|avg_pool_3x3~2|

a group for each node, and in it an operation for each earlier node. Beside the space this module offers what can be
told of an architecture without building its network: `is_dead`, `unique_string`, `params` and `macs`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from nasplat.errors import InvalidArchitecture, NasplatError
from nasplat.space import Arch, Notation, Space, SpaceFactory, Value, categorical

from ._nasbench201_cell import (
    EDGES,
    OPERATIONS,
    OUTPUT,
    edge_name,
    function_key,
    graph,
    is_dead,
    operations,
    unique_string,
)
from ._nasbench201_plan import CIFAR10, Plan, macs, params

if TYPE_CHECKING:
    from torch import nn

__all__ = ["CIFAR10", "OPERATIONS", "SPACE", "Plan", "is_dead", "macs", "params", "unique_string"]

SPELLED = re.compile(r"\|(\w+)~0\|\+\|(\w+)~0\|(\w+)~1\|\+\|(\w+)~0\|(\w+)~1\|(\w+)~2\|")


def spell(arch: Mapping[str, Value]) -> str:
    """The benchmark's own string of a cell."""
    chosen = operations(arch)
    nodes = [[edge for edge in EDGES if edge[1] == target] for target in range(1, OUTPUT + 1)]
    return "+".join(f"|{'|'.join(f'{chosen[edge]}~{edge[0]}' for edge in edges)}|" for edges in nodes)


def read(text: str) -> dict[str, Value]:
    """The values of the choices of a cell, from its string; InvalidArchitecture for anything else."""
    found = SPELLED.fullmatch(text)
    if found is None or not set(found.groups()) <= set(OPERATIONS):
        raise InvalidArchitecture(
            f"{text!r} is no cell of NAS-Bench-201: expected |op~0|+|op~0|op~1|+|op~0|op~1|op~2|, "
            f"each op one of {', '.join(OPERATIONS)}"
        )
    return {edge_name(edge): operation for edge, operation in zip(EDGES, found.groups(), strict=True)}


def nasbench201(
    *,
    channels: int = 16,
    cells: int = 5,
    input_shape: tuple[int, int, int] = (3, 32, 32),
    classes: int = 10,
) -> Space:
    """The space for images (channels, height, width); the defaults are the networks of the tables on CIFAR-10.

    channels: of the first stage, doubled at each of the two reductions. cells: in each stage.
    NasplatError for numbers below 1, and for sides that cannot be halved twice.
    """
    plan = Plan(channels, cells, _image_shape(input_shape), classes)
    for name, value in {"channels": channels, "cells": cells, "classes": classes}.items():
        if type(value) is not int or value < 1:
            raise NasplatError(f"nasbench201 {name} = {value}: give a whole number above 0")
    return Space(
        "nasbench201",
        [categorical(edge_name(edge), OPERATIONS) for edge in EDGES],
        build=partial(_build, plan),
        input_shape=plan.input_shape,
        constants={"channels": channels, "cells": cells, "classes": classes},
        notation=Notation(spell, read, function_key, graph),
    )


def _build(plan: Plan, arch: Arch) -> nn.Module:
    from ._nasbench201_network import network  # here: who only reads tables needs no torch

    return network(plan, arch)


def _image_shape(shape: tuple[int, int, int]) -> tuple[int, int, int]:
    whole = len(shape) == 3 and all(type(side) is int and side > 0 for side in shape)
    if not whole or shape[1] % 4 or shape[2] % 4:
        raise NasplatError(
            f"nasbench201 input_shape = {list(shape)}: give images as (channels, height, width), "
            "with a height and a width that can be halved twice (multiples of 4)"
        )
    return shape


SPACE: SpaceFactory = nasbench201
