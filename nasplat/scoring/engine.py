"""Run scores on copies of a network, so that one failure or side effect touches nothing else."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from nasplat import plugins
from nasplat.errors import NasplatError
from nasplat.files import content_hash
from nasplat.scoring.evidence import Evidence
from nasplat.scoring.kinds import Score, ScoreResult, Status
from nasplat.scoring.passes import PASSES, run_passes, seeded
from nasplat.scoring.reasons import NotApplicable, Undefined


def score(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    names: Sequence[str | Score],
    *,
    seed: int = 0,
    init: str = "as given",
) -> dict[str, ScoreResult]:
    """Each score of `model` on a batch, by the name it was asked by: images (n, ...), labels (n,), on its device.

    Passes that scores share run once, on one copy in training mode; a score that changes the network gets its own
    copy. The random state is seeded by `seed` for the passes and for each score; weights, modes, gradients and
    random states of the caller stay as they were. A score that raises, or whose value is not finite, gives a
    result with its reason; a pass that fails does so to the scores that need it. `init` names how the weights
    were made, for the record. Raises NasplatError for a name that is no score,
    or that is asked twice.
    """
    scores = load_scores(names)
    origin: dict[str, str | int] = {
        "seed": seed,
        "init": init,
        "batch": batch_digest(images, labels),
        "torch": torch.__version__,
    }
    with torch.inference_mode(False), torch.enable_grad():
        passes = run_passes(model, images, labels, [s.shares for s in scores], seed)
        results = {}
        for entry in scores:
            evidence = Evidence(model, images, labels, {name: passes.found[name] for name in entry.shares})
            start = time.perf_counter()
            with seeded(model, seed):
                value, parts, status, reason = _attempt(entry, evidence)
            seconds = time.perf_counter() - start + passes.seconds(entry.shares)
            results[entry.name] = ScoreResult(value, dict(parts), seconds, status, reason, dict(origin))
    return results


def load_scores(names: Sequence[str | Score], base: Path | None = None) -> list[Score]:
    """The scores of these names, each called as it was asked for; a Score stands for itself.

    Files, as in "mine.py:SCORE", are relative to `base`; such a score is called "mine.py:SCORE", whatever it calls
    itself, so that it never passes for another. Raises NasplatError for what is no score and for a name twice.
    """
    scores = [n if isinstance(n, Score) else _load(n, base) for n in names]
    for entry in scores:
        if unknown := entry.shares - PASSES.keys():
            raise NasplatError(
                f"score {entry.name!r} shares {sorted(unknown)}; known are {', '.join(PASSES)}"
            )
    twice = [name for name, count in Counter(entry.name for entry in scores).items() if count > 1]
    if twice:
        raise NasplatError(f"two scores are called {twice[0]!r}: ask for each once, under a name of its own")
    return scores


def _load(name: str, base: Path | None) -> Score:
    found = plugins.load("predictors", name, base=base)
    if not isinstance(found, Score):
        raise NasplatError(
            f"{name!r} is a {type(found).__name__}, not a score: name a plug-in that ends with SCORE"
        )
    return replace(found, name=name)


def batch_digest(images: Tensor, labels: Tensor) -> str:
    """First 16 hexadecimal digits of the hash of both tensors: shapes, types and bytes."""
    content = b""
    for tensor in (images, labels):
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        content += f"{tensor.dtype}{tuple(tensor.shape)}".encode() + flat.view(torch.uint8).numpy().tobytes()
    return content_hash(content)[:16]


def _attempt(entry: Score, evidence: Evidence) -> tuple[float, Mapping[str, float], Status, str]:
    """Value, per-module values, status and reason of one score."""
    try:
        value, parts = entry.function(evidence)
    except NotApplicable as error:
        return math.nan, {}, "not_applicable", str(error)
    except Undefined as error:
        return math.nan, {}, "failed", str(error)
    except Exception as error:
        return math.nan, {}, "failed", " ".join(f"{type(error).__name__}: {error}".split())
    if math.isfinite(value):
        return value, parts, "ok", ""
    return math.nan, parts, "failed", f"the value is {value}"
