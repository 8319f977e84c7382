"""Plans of masks: a density, densities by tensor, or n of every m weights; by a score and a scope."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import index
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from nasplat.errors import NasplatError, expected_one_of
from nasplat.prune.scores.evidence import Loss
from nasplat.prune.sparse.allocation import LAYERWISE, Flags, Ranks, counts_of, top, top_of_all, top_of_blocks
from nasplat.prune.sparse.plan import MaskedTensor, MaskPlan, packed
from nasplat.prune.sparse.scores import WEIGHT_SCORES, WeightEvidence, WeightScore
from nasplat.prune.sparse.tensors import Maskable, maskable, matched, matches

Density: TypeAlias = float | Mapping[str, float]
SCOPES = ("global", *LAYERWISE)


@dataclass(frozen=True, slots=True, eq=False)
class MaskSettings:
    """What else shapes a plan of masks.

    keep: glob patterns of tensors or modules that stay whole. loss: what gradients of a score are of. within: a plan
    whose masked weights stay masked, for pruning step by step. seed: of random scores.
    """

    keep: Sequence[str] = ()
    loss: Loss | None = None
    within: MaskPlan | None = None
    seed: int = 0


DEFAULT = MaskSettings()


def plan_masks(
    module: nn.Module,
    density: Density | None = None,
    *,
    n_of_m: tuple[int, int] | None = None,
    score: str | WeightScore = "magnitude",
    scope: str = "global",
    settings: MaskSettings = DEFAULT,
) -> MaskPlan:
    """Choose the single weights that stay, in convolutions, linear layers and attention. The module stays as it is.

    density: the share that stays of all weights that may go, met exactly but for rounding; by scope "global" the best
    of the whole network, "layer" the same share of every tensor, "erk" shares by the Erdos-Renyi-kernel rule
    (arXiv:1911.11134). Or a share for each tensor, by glob patterns of tensors or modules, of which the first that
    fits counts; tensors that fit none stay whole.
    n_of_m: instead, n of every m inputs that follow each other, such as (2, 4) (arXiv:2104.08378); tensors whose
    inputs m does not divide stay whole, and the plan says so.
    score: a name of WEIGHT_SCORES or a function of the evidence.
    NasplatError in one line for a target that makes no sense.
    """
    if (density is None) == (n_of_m is None):
        raise NasplatError("give plan_masks either density = ... or n_of_m = (n, m)")
    if scope not in SCOPES:
        raise NasplatError(f"unknown scope {scope!r}: {expected_one_of(scope, SCOPES)}")
    tensors = _tensors(module)
    free = _not_kept(tensors, settings.keep)
    evidence = WeightEvidence(module, {t.name: t.weight for t in free}, settings.loss, settings.seed)
    scores = _scores(evidence, score, settings.within)
    if n_of_m is not None:
        masks = _blockwise(free, scores, n_of_m)
        target: dict[str, Any] = {"n_of_m": list(n_of_m)}
    else:
        assert density is not None
        masks = _by_density(scores, density, scope, settings.within)
        target = {"density": dict(density) if isinstance(density, Mapping) else float(density)}
        target |= {} if isinstance(density, Mapping) else {"scope": scope}
    name = score if isinstance(score, str) else getattr(score, "__name__", type(score).__name__)
    asked = {**target, "score": name, "keep": list(settings.keep), "seed": settings.seed}
    return _plan(tensors, _narrowed(masks, settings.within), asked)


def random_twin(plan: MaskPlan, seed: int) -> MaskPlan:
    """Masks that keep as many weights of every tensor as the plan's do, at random: the control of a ticket.

    What is left of a score when only its densities by layer count (arXiv:2009.11094). N:M patterns are not kept.
    """
    rng = np.random.default_rng(seed)
    bits = {}
    for tensor in plan.tensors:
        if tensor.name in plan.packed:
            mask = np.zeros(tensor.size, dtype=bool)
            mask[rng.permutation(tensor.size)[: tensor.kept]] = True
            bits[tensor.name] = packed(mask)
    return MaskPlan(plan.tensors, {"score": "random", "counts of": dict(plan.asked), "seed": seed}, bits)


def _tensors(module: nn.Module) -> list[Maskable]:
    if not isinstance(module, nn.Module):
        raise NasplatError(f"{type(module).__name__} is no torch.nn.Module: give the network itself")
    tensors = maskable(module)
    for tensor in tensors:
        if is_lazy(tensor.weight):
            raise NasplatError(f"{tensor.name} has no shape yet: call the module on an example first")
    if not tensors:
        raise NasplatError("no weights to mask: the module has no convolution, linear layer or attention")
    return tensors


def _not_kept(tensors: Sequence[Maskable], keep: Sequence[str]) -> list[Maskable]:
    if isinstance(keep, str):
        raise NasplatError(f"keep = {keep!r}: expected a list of patterns, such as [{keep!r}]")
    _check_patterns([t.name for t in tensors], keep)
    free = [t for t in tensors if not any(matches(t.name, pattern) for pattern in keep)]
    if not free:
        raise NasplatError(f"keep = {list(keep)} leaves no weights to mask: name fewer tensors")
    return free


def _check_patterns(names: Sequence[str], patterns: Sequence[str]) -> None:
    for pattern in patterns:
        if not matched(names, pattern):
            raise NasplatError(
                f"{pattern!r} means no maskable tensor or its module: {expected_one_of(pattern, names)}"
            )


def _scores(
    evidence: WeightEvidence, score: str | WeightScore, within: MaskPlan | None
) -> dict[str, NDArray[np.float64]]:
    """Scores of all free tensors in their shapes; minus infinity where `within` has no weight."""
    if isinstance(score, str) and score not in WEIGHT_SCORES:
        raise NasplatError(f"unknown score {score!r} of weights: {expected_one_of(score, WEIGHT_SCORES)}")
    function: Callable[[WeightEvidence], Mapping[str, Tensor]]
    function = WEIGHT_SCORES[score] if isinstance(score, str) else score
    found = function(evidence)
    scores = {name: _checked(name, found.get(name), weight) for name, weight in evidence.weights.items()}
    for name, mask in (within.masks(evidence.module) if within else {}).items():
        if name in scores:
            scores[name] = np.where(mask.cpu().numpy(), scores[name], -np.inf)
    return scores


def _checked(name: str, scores: Tensor | None, weight: Tensor) -> NDArray[np.float64]:
    if scores is None or scores.shape != weight.shape:
        came = "nothing" if scores is None else str(tuple(scores.shape))
        raise NasplatError(f"the score gives {came} for {name}: expected a tensor {tuple(weight.shape)}")
    values: NDArray[np.float64] = scores.detach().cpu().double().numpy()
    if not np.isfinite(values).all():
        raise NasplatError(f"the score of {name} is not finite: look at its weights, or at the loss")
    return values


def _by_density(
    scores: Mapping[str, NDArray[np.float64]], density: Density, scope: str, within: MaskPlan | None
) -> dict[str, Flags]:
    flat: dict[str, Ranks] = {name: values.ravel() for name, values in scores.items()}
    if isinstance(density, Mapping):
        _check_patterns(list(scores), list(density))
        given = {n: _share(d) for n in scores if (d := _first(n, density)) is not None}
        return _tops(flat, {name: round(share * len(flat[name])) for name, share in given.items()})
    total = sum(len(ranks) for ranks in flat.values())
    left = sum(int(np.isfinite(ranks).sum()) for ranks in flat.values())
    count = round(_share(density) * total)
    if count > left:
        raise NasplatError(
            f"density {density} is more than the {left / total:.4g} that `within` keeps: ask for less"
        )
    if scope == "global":
        return top_of_all(flat, count)
    shares = LAYERWISE[scope]({name: values.shape for name, values in scores.items()}, float(density))
    return _tops(flat, counts_of({name: share * len(flat[name]) for name, share in shares.items()}))


def _tops(flat: Mapping[str, Ranks], counts: Mapping[str, int]) -> dict[str, Flags]:
    """So many weights of every tensor; NasplatError where another plan leaves fewer."""
    for name, count in counts.items():
        left = int(np.isfinite(flat[name]).sum())
        if count > left:
            raise NasplatError(f"{name} is to keep {count} weights, but `within` keeps {left}: ask for less")
    return {name: top(flat[name], count) for name, count in counts.items()}


def _first(name: str, densities: Mapping[str, float]) -> float | None:
    return next((share for pattern, share in densities.items() if matches(name, pattern)), None)


def _share(density: object) -> float:
    if isinstance(density, bool) or not isinstance(density, int | float) or not 0 < density <= 1:
        raise NasplatError(
            f"density = {density!r}: expected a share of weights that stay, above 0 and at most 1"
        )
    return float(density)


def _blockwise(
    tensors: Sequence[Maskable], scores: Mapping[str, NDArray[np.float64]], n_of_m: tuple[int, int]
) -> dict[str, Flags]:
    try:
        n, m = map(index, n_of_m)
    except (TypeError, ValueError):
        n, m = 0, 0
    if not 0 < n < m:
        raise NasplatError(f"n_of_m = {n_of_m!r}: expected two numbers, such as (2, 4), with 0 < n < m")
    fitting = [tensor for tensor in tensors if tensor.run % m == 0]
    if not fitting:
        raise NasplatError(f"{m} divides the inputs of no tensor: choose another m for {n}:{m}")
    masks = {}
    for tensor in fitting:
        blocks = np.moveaxis(scores[tensor.name], tensor.axis, -1)
        kept = top_of_blocks(blocks.reshape(*blocks.shape[:-1], -1, m), n, axis=-1).reshape(blocks.shape)
        masks[tensor.name] = np.moveaxis(kept, -1, tensor.axis).ravel()
    return masks


def _narrowed(masks: Mapping[str, Flags], within: MaskPlan | None) -> dict[str, Flags]:
    """The masks without what another plan masks: also in tensors that lose nothing of their own."""
    found = dict(masks)
    for tensor in within.tensors if within else ():
        if within and tensor.name in within.packed:
            before = np.unpackbits(within.packed[tensor.name], count=tensor.size).astype(bool)
            found[tensor.name] = found[tensor.name] & before if tensor.name in found else before
    return found


def _plan(tensors: Sequence[Maskable], masks: Mapping[str, Flags], asked: Mapping[str, Any]) -> MaskPlan:
    def planned(tensor: Maskable) -> MaskedTensor:
        shape, size = tuple(tensor.weight.shape), tensor.weight.numel()
        if tensor.name in masks:
            return MaskedTensor(tensor.name, shape, int(masks[tensor.name].sum()))
        return MaskedTensor(tensor.name, shape, size, _why_whole(tensor, asked))

    bits = {name: packed(mask) for name, mask in masks.items()}
    return MaskPlan(tuple(planned(tensor) for tensor in tensors), asked, bits)


def _why_whole(tensor: Maskable, asked: Mapping[str, Any]) -> str:
    if any(matches(tensor.name, pattern) for pattern in asked["keep"]):
        return "kept whole"
    if "n_of_m" in asked:
        return f"{asked['n_of_m'][1]} does not divide its {tensor.run} inputs"
    return "no density given"
