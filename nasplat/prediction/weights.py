"""The weights of trained networks among samples."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from nasplat.channels.graph import ParameterGraph
from nasplat.errors import DataError, NasplatError
from nasplat.prediction.sample import Sample


def weights_of(samples: Sequence[Sample]) -> list[ParameterGraph]:
    """The trained networks of samples, in float32 and apart from their modules.

    NasplatError names the first sample without one; DataError the first number that is not finite.
    """
    found = []
    for sample in samples:
        if sample.weights is None:
            raise NasplatError(
                f"architecture {sample.arch.key} has no weights: "
                "give Sample(..., weights=parameter_graph(module, example))"
            )
        _check_finite(sample.weights, f"architecture {sample.arch.key}")
        found.append(_single(sample.weights))
    return found


def _single(graph: ParameterGraph) -> ParameterGraph:
    tensors = {
        name: (tensor.float() if tensor.is_floating_point() else tensor).detach()
        for name, tensor in graph.tensors.items()
    }
    return ParameterGraph(graph.structure, tensors)


def _check_finite(graph: ParameterGraph, name: str) -> None:
    for parameter in graph.structure.shapes:
        if not bool(torch.isfinite(graph.tensors[parameter]).all()):
            raise DataError(
                f"{name} has numbers that are not finite in {parameter!r}: leave such networks out"
            )
