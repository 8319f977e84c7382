"""deepsets_weights: a number of a trained network from its weights as a set, blind to who is connected to whom."""

from __future__ import annotations

from typing import Any

from nasplat.prediction import PredictorFactory

from .metanet import Metanet


class DeepSetsWeights(Metanet):
    """`metanet` with the backbone "deep_sets" (arXiv:1703.06114): what metanetworks have to beat."""

    def __init__(
        self,
        *,
        width: int = 32,
        layers: int = 3,
        grid: int = 7,
        epochs: int = 60,
        members: int = 1,
        reach: float = 4.0,
    ) -> None:
        super().__init__(
            backbone="deep_sets",
            width=width,
            layers=layers,
            grid=grid,
            epochs=epochs,
            members=members,
            reach=reach,
        )

    @property
    def arguments(self) -> dict[str, Any]:
        own = ("width", "layers", "grid", "epochs", "members", "reach")
        return {name: value for name, value in super().arguments.items() if name in own}


PREDICTOR: PredictorFactory = DeepSetsWeights
