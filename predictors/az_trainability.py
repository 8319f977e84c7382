"""az_trainability: how well the blocks of a network keep the size of gradients that pass back through them."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from nasplat.scoring import Evidence, Score, Undefined, gradients


def az_trainability(evidence: Evidence) -> tuple[float, Mapping[str, float]]:
    """Mean over blocks of 2 - s - 1 / (s + 1e-6), at most 0, where s = 1 (AZ-NAS, arXiv:2403.19232).

    s is the largest singular value of g_in^T g_out / (n h w), which estimates the block's Jacobian averaged over
    positions: g_out (n h w, c_out) random signs, g_in (n h w, c_in) their product with the Jacobian. Where the block
    shrinks its maps, g_in moves the pixels of a patch to channels (pixel unshuffle). Blocks, weights and images:
    nasplat.scoring.block_maps; images (n, c, h, w) give their shape only. Higher is better. Per module: each
    block but the first. Undefined with a block that is the identity (minus infinity in the paper's code, to be
    ranked last), and with one whose maps do not shrink by a whole factor.
    """
    terms = {}
    for (_, before), (name, after) in pairwise(evidence.block_maps.items()):
        signs = torch.randint_like(after, 2) * 2 - 1
        (back,) = gradients((after * signs).sum(), [before], retain_graph=True)
        if torch.equal(back, signs):
            raise Undefined(f"the block {name} is the identity")
        if not bool(back.any()):
            raise Undefined(f"no gradient passes through the block {name}")
        s = _singular_value(_matched(back, signs, name), signs)
        terms[name] = 2 - s - 1 / (s + 1e-6)
    return sum(terms.values()) / len(terms), terms


def _matched(back: Tensor, signs: Tensor, name: str) -> Tensor:
    """The gradient at the input (n, c, h, w) with as many positions as at the output (n, c', h', w')."""
    factor = back.shape[-1] // signs.shape[-1]
    if back.shape[-2:] != (signs.shape[-2] * factor, signs.shape[-1] * factor):
        sizes = [f"{h} x {w}" for h, w in (back.shape[-2:], signs.shape[-2:])]
        raise Undefined(f"the block {name} turns maps of {sizes[0]} to {sizes[1]}: no whole factor")
    return F.pixel_unshuffle(back, factor)


def _singular_value(back: Tensor, signs: Tensor) -> float:
    """The largest one of g_in^T g_out / (n h w); both (n, channels, h, w)."""
    g_in, g_out = (g.transpose(0, 1).flatten(1) for g in (back, signs))
    return float(torch.linalg.matrix_norm((g_in @ g_out.T).double() / g_out.shape[1], ord=2))


SCORE: Score = Score(
    name="az_trainability",
    direction="maximize",
    needs=frozenset({"data", "grad"}),
    cost="one forward pass, shared with the other scores of AZ-NAS, and one backward pass",
    paper="AZ-NAS: Assembling Zero-Cost Proxies for Network Architecture Search, arXiv:2403.19232",
    function=az_trainability,
    shares=frozenset({"block_maps"}),
)
