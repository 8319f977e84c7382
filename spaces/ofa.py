"""Once-for-All: depths, kernels, expansions and image sizes as a latency table writes them; no networks.

The space of "Once-for-All: Train One Network and Specialize it for Efficient Deployment" (arXiv:1908.09791,
section 4.1): five stages of 2 to 4 inverted residual blocks, of which each has a kernel and an expansion, on images of
128 to 224 pixels. HELP (arXiv:2106.08630) writes four texts: the kernels and the expansions of 20 blocks, also of those
that the depth of their stage leaves out, the depths of the stages, and the side of the image. What is left out has no
values here, and is spelled 0. The table `ofa` holds 5,000 of these architectures (`rows` searches it alone);
`ofa_mobilenet` builds the networks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from nasplat.errors import InvalidArchitecture
from nasplat.space import Arch, ArchGraph, Choice, Notation, Space, SpaceFactory, Value, ordinal

STAGES, MOST = 5, 4
DEPTHS, KERNELS, EXPANSIONS = (2, 3, 4), (3, 5, 7), (3, 4, 6)
SIDES = tuple(range(128, 225, 4))
BLOCKS = [(stage, block) for stage in range(1, STAGES + 1) for block in range(1, MOST + 1)]
LEFT_OUT = 0


def spell(arch: Mapping[str, Value]) -> str:
    """Kernels, expansions, depths and side, with a space between them and "-" inside; 0 for what is left out."""
    each = ([arch.get(f"{kind}{s}_{b}", LEFT_OUT) for s, b in BLOCKS] for kind in ("kernel", "expand"))
    depths = [arch[f"depth{stage}"] for stage in range(1, STAGES + 1)]
    return " ".join("-".join(map(str, part)) for part in (*each, depths, [arch["resolution"]]))


def read(text: str) -> dict[str, Value]:
    """The values of the choices; what stands at blocks that are left out does not matter. InvalidArchitecture else."""
    try:
        kernels, expansions, depths, (side,) = ([int(n) for n in part.split("-")] for part in text.split(" "))
    except ValueError:
        raise _no_architecture(text) from None
    if (len(kernels), len(expansions), len(depths)) != (len(BLOCKS), len(BLOCKS), STAGES):
        raise _no_architecture(text)
    values: dict[str, Value] = {"resolution": side}
    values |= {f"depth{stage}": depth for stage, depth in enumerate(depths, 1)}
    for (stage, block), kernel, expansion in zip(BLOCKS, kernels, expansions, strict=True):
        if block <= depths[stage - 1]:
            values |= {f"kernel{stage}_{block}": kernel, f"expand{stage}_{block}": expansion}
    return values


def graph(arch: Arch) -> ArchGraph:
    """The chain of blocks between "input" and "output", each with the word of its kernel and expansion."""
    there = [(s, b) for s, b in BLOCKS if f"kernel{s}_{b}" in arch]
    words = [f"k{arch[f'kernel{s}_{b}']}_e{arch[f'expand{s}_{b}']}" for s, b in there]
    return ArchGraph(("input", *words, "output"), tuple((i, i + 1) for i in range(len(words) + 1)))


def ofa() -> Space:
    """The space; its choices are resolution, depth1 to depth5, kernel1_1, expand1_1 and so on (stage 1, block 1)."""
    return Space("ofa", list(_choices()), notation=Notation(spell, read, graph=graph))


def _choices() -> Iterator[Choice]:
    yield ordinal("resolution", SIDES)
    for stage in range(1, STAGES + 1):
        yield ordinal(f"depth{stage}", DEPTHS)
        for block in range(1, MOST + 1):
            deep = [depth for depth in DEPTHS if depth >= block]
            when = None if block <= DEPTHS[0] else {f"depth{stage}": deep}
            yield ordinal(f"kernel{stage}_{block}", KERNELS, when=when)
            yield ordinal(f"expand{stage}_{block}", EXPANSIONS, when=when)


def _no_architecture(text: str) -> InvalidArchitecture:
    return InvalidArchitecture(
        f"{text!r} is no Once-for-All network: expected {len(BLOCKS)} kernels, as many expansions, {STAGES} depths and "
        "the side of the image, with a space between them and '-' inside"
    )


SPACE: SpaceFactory = ofa
