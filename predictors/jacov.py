"""jacov: how independently a network answers to small changes of different images."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from nasplat.scoring import Evidence, Score, Undefined

K = 1e-5


def jacov(evidence: Evidence) -> tuple[float, Mapping[str, float]]:
    """-sum over eigenvalues v of R of log(v + k) + 1/(v + k), k = 1e-5; at most about -n. Higher is better.

    R (n, n) correlates, between images, the rows of the Jacobian of the sum of outputs with respect to the images:
    the score of the first version of "Neural Architecture Search without Training" (arXiv:2006.04647v1), known as
    jacob_cov from arXiv:2101.08134. Values of different batch sizes do not compare. Labels are not used.
    Per module: the same of the Jacobian with respect to each layer's output, our own measure; 0 where that has
    no correlation, as for a classifier, whose Jacobian is 1 everywhere. Undefined where R is not: a dead network.
    """
    found = evidence.jacobian_correlations
    if found[""] is None:
        raise Undefined("a dead network: the outputs change with no pixel of some image, or with all alike")
    known = {name: matrix for name, matrix in found.items() if matrix is not None}
    values = dict(zip(known, _scores(torch.stack(list(known.values()))), strict=True))
    return values[""], {name: values.get(name, 0.0) for name in found if name}


def _scores(correlations: Tensor) -> list[float]:
    """Of each of the correlations (matrices, n, n)."""
    v = torch.linalg.eigvalsh(correlations).clamp(min=0)  # rounding makes zeros negative
    return [-float(x) for x in ((v + K).log() + 1 / (v + K)).sum(-1)]


SCORE: Score = Score(
    name="jacov",
    direction="maximize",
    needs=frozenset({"data", "grad"}),
    cost="one forward and one backward pass",
    paper="Neural Architecture Search without Training, arXiv:2006.04647v1",
    function=jacov,
    shares=frozenset({"jacobian_correlations"}),
)
