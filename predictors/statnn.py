"""statnn: a number of a trained network from seven statistics of its weights, layer by layer. A baseline."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from nasplat.channels.graph import ParameterGraph
from nasplat.metanet.statistics import by_row, by_tensor
from nasplat.prediction import PredictorFactory

from ._weight_tables import Model, WeightTable


class StatNN(WeightTable):
    """Mean, variance and quantiles of weights (Unterthiner et al., arXiv:2002.11448), and a learner on them.

    per: "tensor" as published, for networks of one form; "row", columns that networks of any form have, see `by_row`.
    model: the learner.
    """

    def __init__(self, *, per: Literal["row", "tensor"] = "row", model: Model = "boosting") -> None:
        super().__init__(model, {"per": per}, one_form=per == "tensor")
        self.per = per

    def columns(self, graph: ParameterGraph) -> Tensor:
        return by_row(graph) if self.per == "row" else by_tensor(graph)


PREDICTOR: PredictorFactory = StatNN
