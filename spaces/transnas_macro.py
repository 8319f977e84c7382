"""TransNAS-Bench-101, skeletons: how many modules, and where they halve the image and double the channels.

The macro-level space of "TransNAS-Bench-101: Improving Transferability and Generalizability of Cross-Task Neural
Architecture Search" (arXiv:2105.11871): four to six modules of residual blocks, of which one to four halve the image
and one to three double the channels, 3,256 architectures. The tables `transnas_macro/TASK` hold up to 725 of them, as
NAS-Bench-Suite-Zero (arXiv:2210.03230) drew them; a trial of any other fails and says so (`rows` searches a table
alone). They write a skeleton as six numbers, "(1, 2, 4, 2, 0, 0)": 1 is a plain module, 2 doubles the channels, 3
halves the image, 4 does both, 0 is none. The networks cannot be built here.
"""

from __future__ import annotations

from collections.abc import Mapping

from nasplat.errors import InvalidArchitecture
from nasplat.space import (
    Arch,
    ArchGraph,
    Choice,
    Notation,
    Space,
    SpaceFactory,
    Value,
    members,
    ordinal,
    subset,
)

DEPTHS = (4, 5, 6)
MODULES = ("none", "plain", "double", "halve", "halve_double")
"""In the order of their numbers."""
MOST_HALVED, MOST_DOUBLED = 4, 3


def modules(arch: Mapping[str, Value]) -> list[int]:
    """The numbers of the modules, 1 to 4, without the zeros at the end."""
    depth = arch["depth"]
    halved, doubled = (members(arch[f"{kind}{depth}"]) for kind in ("halve", "double"))
    places = (str(place) for place in range(1, int(depth or 0) + 1))
    return [1 + (place in doubled) + 2 * (place in halved) for place in places]


def spell(arch: Mapping[str, Value]) -> str:
    """The numbers of the modules, filled up to six by zeros, as a tuple in Python."""
    numbers = modules(arch)
    return str((*numbers, *[0] * (DEPTHS[-1] - len(numbers))))


def read(text: str) -> dict[str, Value]:
    """The choices of a skeleton from the numbers of its modules; InvalidArchitecture for anything else."""
    numbers = text.removeprefix("(").removesuffix(")").split(", ")
    kept = [number for number in numbers if number != "0"]
    filled = [*kept, *["0"] * (DEPTHS[-1] - len(kept))]
    if (
        numbers != filled
        or len(kept) not in DEPTHS
        or any(number not in ("1", "2", "3", "4") for number in kept)
    ):
        raise InvalidArchitecture(
            f"{text!r} is no skeleton of TransNAS-Bench-101: expected four to six numbers from 1 to 4, "
            "filled up to six by zeros"
        )
    places = list(enumerate(kept, start=1))
    halved = "+".join(str(place) for place, number in places if number in ("3", "4"))
    doubled = "+".join(str(place) for place, number in places if number in ("2", "4"))
    depth = len(kept)
    return {"depth": depth, f"halve{depth}": halved, f"double{depth}": doubled}


def graph(arch: Arch) -> ArchGraph:
    """The chain of modules between "input" and "output"."""
    words = ("input", *(MODULES[number] for number in modules(arch)), "output")
    return ArchGraph(words, tuple((i, i + 1) for i in range(len(words) - 1)))


def _places(depth: int) -> list[Choice]:
    """Which of so many modules halve the image, and which double the channels."""
    when, places = {"depth": [depth]}, range(1, depth + 1)
    return [
        subset(f"halve{depth}", places, 1, MOST_HALVED, when),
        subset(f"double{depth}", places, 1, MOST_DOUBLED, when),
    ]


def transnas_macro() -> Space:
    """The space; its choices are depth, and for each depth d the modules in halve<d> and double<d>."""
    choices = [ordinal("depth", DEPTHS), *(choice for depth in DEPTHS for choice in _places(depth))]
    return Space("transnas_macro", choices, notation=Notation(spell, read, graph=graph))


SPACE: SpaceFactory = transnas_macro
