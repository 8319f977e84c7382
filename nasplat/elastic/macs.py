"""The multiply-adds of every architecture of an elastic space as a sum of small tables, found by watching it run.

terms = mac_terms(space)
Additive(space, terms).sample(rng, 200e6, 210e6)     # a random network of this cost
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from math import prod

import numpy as np
import torch

from nasplat.elastic.extraction import extract
from nasplat.elastic.meter import Meter, example, without_storage
from nasplat.elastic.space import ElasticSpace
from nasplat.errors import NasplatError
from nasplat.measure.size import count_macs
from nasplat.space import Arch, Term, Value

COUNTED = 4  # random architectures whose networks must cost the sum of their terms
PROBES = 64  # random architectures in a row whose layers must cost the sum of their terms
LARGEST_TABLE = 50_000

Values = dict[str, Value]
Key = tuple[Value, ...]
Scope = tuple[str, ...]  # names of choices, in their order
Layers = Mapping[Scope, Sequence[str]]
Table = dict[Key, tuple[int, Arch]]  # multiply-adds, and the architecture that showed them


def mac_terms(space: ElasticSpace) -> list[Term]:
    """Terms whose sum is the number of multiply-adds of an architecture, exactly as `count_macs` counts.

    A term is what some layers cost, as a table over the choices that decide it: those that a layer reads, those that
    its callers read, such as a depth, and those that changed its cost though all these stayed the same, such as a
    resolution. The latter show on a tour through the space, and wherever a random architecture does not cost the
    sum of its terms; that is repeated until none of PROBES in a row differs. At last some networks are counted alone.
    NasplatError where one costs something else, where the space has no input_shape, or where a layer depends on too
    many choices for a table.
    """
    rng, meter = np.random.default_rng(0), Meter(space)
    influences = _tour(space, meter)
    known: dict[str, set[str]] = {}
    while known != (found := {layer: meter.read_for(layer) | influences[layer] for layer in meter.layers}):
        known, layers = found, _by_scope(space, found)
        tables = _tables(meter, layers)
        for layer, name in _probe(meter, layers, tables, [space.sample(rng) for _ in range(PROBES)]):
            influences[layer].add(name)
    terms = [_term(scope, {key: cost for key, (cost, _) in table.items()}) for scope, table in tables.items()]
    _compare(space, terms, [space.sample(rng) for _ in range(COUNTED)])
    return terms


def _compare(space: ElasticSpace, terms: Sequence[Term], archs: Iterable[Arch]) -> None:
    """NasplatError where an extracted network costs something else than its terms."""
    net = without_storage(space)
    for arch in archs:
        with torch.device("meta"):
            counted = count_macs(extract(net, arch), example(space))
        told = sum(term(arch) for term in terms)
        if told != counted:
            raise NasplatError(
                f"{arch} of {space.name} takes {counted} multiply-adds, {told} by its layers: let every module read "
                "choices from its arch alone, and keep nothing between calls"
            )


def _tour(space: ElasticSpace, meter: Meter) -> defaultdict[str, set[str]]:
    """For each layer the choices that changed its cost though what it and its callers read had the same values.

    The tour goes from the largest architecture to the smallest, gives each choice all its values and leaves it there.
    """
    values, steps = _largest(space), []
    meter(space.largest())  # of a space without a choice it is all there is to see
    for choice in space.choices:
        archs = [space.arch({**values, choice.name: value}) for value in choice.values]
        steps.append((choice.name, [(arch, meter(arch)) for arch in archs]))
        values[choice.name] = choice.values[0]
    influences = defaultdict(set)
    for layer in meter.layers:
        read = sorted(meter.read_for(layer))
        for name, seen in steps:
            if any(
                _key(a, read) == _key(b, read) and costs.get(layer) != others.get(layer)
                for (a, costs), (b, others) in pairwise(seen)
            ):
                influences[layer].add(name)
    return influences


def _by_scope(space: ElasticSpace, scopes: Mapping[str, set[str]]) -> Layers:
    layers: defaultdict[Scope, list[str]] = defaultdict(list)
    for layer, names in scopes.items():
        layers[tuple(choice.name for choice in space.choices if choice.name in names)].append(layer)
    return layers


def _tables(meter: Meter, layers: Layers) -> dict[Scope, Table]:
    """What the layers of each scope cost together; one run of an architecture fills an entry of every table."""
    space, tables = meter.space, {scope: Table() for scope in layers}
    missing = {scope: _entries(space, scope) for scope in layers}
    while any(missing.values()):
        arch = space.arch(_largest(space) | _compatible(missing.values()))
        costs = meter(arch)
        for scope, table in tables.items():
            table[_key(arch, scope)] = _sum(costs, layers[scope]), arch
            missing[scope].pop(_key(arch, scope), None)
    return tables


def _entries(space: ElasticSpace, scope: Scope) -> dict[Key, Values]:
    """The keys of a table, each with values that lead to it, of the choices in scope and of those they wait for."""
    needed = set(scope)
    for choice in reversed(space.choices):
        needed |= {name for name, _ in choice.when} if choice.name in needed else set()
    choices = [choice for choice in space.choices if choice.name in needed]
    if prod(len(choice.values) for choice in choices) > LARGEST_TABLE:
        names = ", ".join(scope)
        raise NasplatError(
            f"the multiply-adds of a layer of {space.name} depend on too many choices: {names}"
        )
    found: list[Values] = [{}]
    for choice in choices:
        found = [
            {**values, choice.name: value} if choice.active(values) else values
            for values in found
            for value in (choice.values if choice.active(values) else (None,))
        ]
    return {_key(values, scope): values for values in found}


def _compatible(missing: Iterable[Mapping[Key, Values]]) -> Values:
    """Values for one entry of as many tables as possible."""
    fixed: Values = {}
    for entries in missing:
        fits = (
            e for e in entries.values() if all(fixed.get(name, value) == value for name, value in e.items())
        )
        fixed |= next(fits, {})
    return fixed


def _probe(
    meter: Meter, layers: Layers, tables: Mapping[Scope, Table], archs: Iterable[Arch]
) -> Iterator[tuple[str, str]]:
    """Layers that cost something else than their tables say, each with a choice that its scope lacks."""
    for arch in archs:
        costs = meter(arch)
        for scope, table in tables.items():
            cost, shown = table[_key(arch, scope)]
            if cost != _sum(costs, layers[scope]):
                before = meter(shown)
                changed = [layer for layer in layers[scope] if before.get(layer) != costs.get(layer)]
                yield from ((layer, _cause(meter, layer, shown, arch)) for layer in changed)


def _cause(meter: Meter, layer: str, start: Arch, end: Arch) -> str:
    """A choice that changes the cost of a layer somewhere between two architectures in which it differs."""
    space = meter.space
    first, last = (_largest(space) | dict(arch) for arch in (start, end))
    names = [name for name in first if first[name] != last[name]]
    same, other = 0, len(names)  # so many choices changed leave the cost as it was, or do not
    while other - same > 1:
        middle = (same + other) // 2
        arch = space.arch(first | {name: last[name] for name in names[:middle]})
        unchanged = meter(arch).get(layer) == meter(start).get(layer)
        same, other = (middle, other) if unchanged else (same, middle)
    return names[other - 1]


def _term(scope: Scope, table: Mapping[Key, int]) -> Term:
    """The table without the choices that change nothing in it."""
    for i in range(len(scope)):
        smaller: dict[Key, set[int]] = defaultdict(set)
        for key, cost in table.items():
            smaller[key[:i] + key[i + 1 :]].add(cost)
        if all(len(costs) == 1 for costs in smaller.values()):
            return _term(scope[:i] + scope[i + 1 :], {key: cost for key, (cost,) in smaller.items()})
    return Term(scope, table)


def _sum(costs: Mapping[str, int], layers: Iterable[str]) -> int:
    return sum(costs.get(layer, 0) for layer in layers)


def _largest(space: ElasticSpace) -> Values:
    return {choice.name: choice.largest for choice in space.choices}


def _key(values: Mapping[str, Value], scope: Iterable[str]) -> Key:
    return tuple(values.get(name) for name in scope)
