"""FBNet: 22 positions in a chain, one of nine blocks at each; architectures of published latency tables, not networks.

The space of "FBNet: Hardware-Aware Efficient ConvNet Design via Differentiable Neural Architecture Search"
(arXiv:1812.03443, tables 1 and 2): inverted residual blocks of a kernel and an expansion, some with grouped 1x1
convolutions, or a skip. HELP (arXiv:2106.08630) writes an architecture as the 22 numbers of its blocks, joined by "-",
and has every block at every position, a skip also where the image is halved. All 9^22 combinations are architectures;
the table `fbnet` holds 5,000 of them, and a trial of any other fails and says so (`rows` searches the table alone).
"""

from __future__ import annotations

from collections.abc import Mapping

from nasplat.errors import InvalidArchitecture
from nasplat.space import Arch, ArchGraph, Notation, Space, SpaceFactory, Value, categorical

BLOCKS = ("k3_e1", "k3_e1_g2", "k3_e3", "k3_e6", "k5_e1", "k5_e1_g2", "k5_e3", "k5_e6", "skip")
"""Kernel, expansion and groups of a block, in the order of their numbers."""
POSITIONS = 22
NAMES = tuple(f"block{position}" for position in range(1, POSITIONS + 1))


def spell(arch: Mapping[str, Value]) -> str:
    """The numbers of the blocks."""
    return "-".join(str(BLOCKS.index(str(arch[name]))) for name in NAMES)


def read(text: str) -> dict[str, Value]:
    """The blocks of an architecture from their numbers; InvalidArchitecture for anything else."""
    numbers = text.split("-")
    if len(numbers) != POSITIONS or any(number not in "012345678" or len(number) != 1 for number in numbers):
        raise InvalidArchitecture(
            f"{text!r} is no FBNet: expected {POSITIONS} numbers from 0 to 8, joined by '-'"
        )
    return {name: BLOCKS[int(number)] for name, number in zip(NAMES, numbers, strict=True)}


def graph(arch: Arch) -> ArchGraph:
    """The chain of blocks between "input" and "output"; a skip stays a node, since positions differ in width."""
    words = ("input", *(str(arch[name]) for name in NAMES), "output")
    return ArchGraph(words, tuple((i, i + 1) for i in range(len(words) - 1)))


def fbnet() -> Space:
    """The space; its choices are block1 to block22."""
    choices = [categorical(name, BLOCKS) for name in NAMES]
    return Space("fbnet", choices, notation=Notation(spell, read, graph=graph))


SPACE: SpaceFactory = fbnet
