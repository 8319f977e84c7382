"""epe_nas: how alike a network answers to small changes of images of one class."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from nasplat.scoring import Evidence, Score, Undefined, class_outputs

K = 1e-5
MANY = 100  # classes, from which on classes are compared pair by pair


def epe_nas(evidence: Evidence) -> tuple[float, Mapping[str, float]]:
    """Sum over classes c of |e_c|, e_c the sum of log(|R_c| + k), k = 1e-5. Higher is better.

    R_c correlates the rows of the Jacobian (as in jacov) of the images of class c. With more than 100 classes e_c is
    divided by the number of images of c, and the score is the mean over the classes c seen of sum_c' |e_c - e_c'|.
    "EPE-NAS: Efficient Performance Estimation Without Training for Neural Architecture Search" (arXiv:2102.08099).
    Per module: the same of the Jacobian with respect to each layer's output, our own measure; 0 where that has no
    correlation. Undefined for a dead network. Values depend strongly on which classes the batch holds.
    """
    classes = class_outputs(evidence.outputs, evidence.labels).shape[1]
    found = evidence.jacobian_correlations
    if found[""] is None:
        raise Undefined("a dead network: the outputs change with no pixel of some image, or with all alike")
    values = {n: 0.0 if r is None else _score(r, evidence.labels.cpu(), classes) for n, r in found.items()}
    return values[""], {name: value for name, value in values.items() if name}


def _score(correlation: Tensor, labels: Tensor, classes: int) -> float:
    """Of one correlation (n, n) of images with labels (n,)."""
    seen, which = torch.unique(labels, return_inverse=True)
    members = torch.nn.functional.one_hot(which, len(seen)).to(correlation)
    e = ((members.T @ (correlation.abs() + K).log()).T * members).sum(0)
    if classes <= MANY:
        return float(e.abs().sum())
    e = e / members.sum(0)
    return float((e[:, None] - e).abs().sum() / len(seen))


SCORE: Score = Score(
    name="epe_nas",
    direction="maximize",
    needs=frozenset({"data", "labels", "grad"}),
    cost="one forward and one backward pass",
    paper="EPE-NAS: Efficient Performance Estimation Without Training for Neural Architecture Search, arXiv:2102.08099",
    function=epe_nas,
    shares=frozenset({"outputs", "jacobian_correlations"}),
)
