"""linear_regions: how many pieces the ReLUs of an untrained network cut its input space into, by sampling."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from nasplat.scoring import BeforeOperators, Evidence, NotApplicable, ReluInputs, Score

SAMPLES, SIDE = 3000, 4


def linear_regions(evidence: Evidence) -> tuple[float, Mapping[str, float]]:
    """The number of different patterns of active ReLUs among the inputs (TE-NAS, arXiv:2102.11535).

    Inputs: 3,000 standard normal images of 4 x 4 pixels with the channels of images (n, c, h, w), tiny as in the paper
    (3 x 3 there; an even side keeps strided layers and pools of one size). Patterns are compared exactly. Higher is
    better. Of the images only the number of channels counts.
    Per module: the patterns of this ReLU alone. The number cannot exceed that of the inputs, and layers of usual width
    reach it: the paper's own networks have one to a few channels. NotApplicable without ReLU, and for a network that
    does not run on such images: counts on other inputs do not compare.
    """
    patterns = _tiny_patterns(evidence)
    if not patterns:
        raise NotApplicable("the network has no ReLU")
    together = set(zip(*patterns.values(), strict=True))
    return float(len(together)), {name: float(len(set(ids))) for name, ids in patterns.items()}


def _tiny_patterns(evidence: Evidence) -> dict[str, list[int]]:
    """Patterns on tiny images. Raises NotApplicable where the network does not take them."""
    images = evidence.images
    if images.ndim != 4 or not images.is_floating_point():
        raise NotApplicable(f"inputs of shape {tuple(images.shape)}, {images.dtype}, are no images")
    tiny = torch.randn(SAMPLES, images.shape[1], SIDE, SIDE).to(images)
    try:
        return relu_patterns(evidence.copy(), tiny)
    except (RuntimeError, ValueError, AssertionError) as error:  # how layers refuse a size
        reason = " ".join(str(error).split())
        raise NotApplicable(f"the network does not run on images of {SIDE} x {SIDE}: {reason}") from error


def relu_patterns(model: nn.Module, inputs: Tensor) -> dict[str, list[int]]:
    """Of each ReLU, one number per input (n, ...): equal exactly where the same units are active."""
    patterns: dict[str, list[int]] = {}

    def note(name: str, x: Tensor) -> None:
        if not x.ndim or len(x) != len(inputs):
            raise NotApplicable(
                f"a ReLU gets a tensor of shape {tuple(x.shape)}, its first axis is not the batch"
            )
        rows = np.packbits((x > 0).flatten(1).cpu().numpy(), axis=1)
        known: dict[bytes, int] = {}
        patterns[name] = [known.setdefault(row.tobytes(), len(known)) for row in rows]

    with torch.no_grad(), BeforeOperators([ReluInputs(model, note)]):
        model(inputs.clone())
    return patterns


SCORE: Score = Score(
    name="linear_regions",
    direction="maximize",
    needs=frozenset(),
    cost="one forward pass of 3,000 images of 4 x 4 pixels",
    paper="Neural Architecture Search on ImageNet in Four GPU Hours, arXiv:2102.11535",
    function=linear_regions,
)
