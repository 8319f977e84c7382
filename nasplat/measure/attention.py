"""What torch's transformer encoders do beside their modules."""

from __future__ import annotations

from torch import nn


def leave_fast_path(module: nn.Module) -> None:
    """Let the transformer encoder layers of a module run their parts as modules, in place.

    In evaluation mode torch else hands the weights of their two linear layers to one kernel of its own, which takes no
    other kind of layer in their place.
    """
    for part in module.modules():
        if isinstance(part, nn.TransformerEncoderLayer):
            part.activation_relu_or_gelu = 0
        elif isinstance(part, nn.TransformerEncoder):
            part.use_nested_tensor = False
