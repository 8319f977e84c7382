"""How a weight starts as a copy of another, in the middle of a training."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim import Optimizer


@torch.no_grad()
def inherit(parent: Tensor, child: Tensor, optimiser: Optimizer) -> None:
    """Make a weight, and what the optimiser knows of it, a copy of another's of the same shape."""
    child.copy_(parent)
    state = optimiser.state.get(parent)
    optimiser.state.pop(child, None)
    if state:
        optimiser.state[child] = {k: v.clone() if isinstance(v, Tensor) else v for k, v in state.items()}
