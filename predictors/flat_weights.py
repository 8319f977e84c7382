"""flat_weights: a number of a trained network from all its weights in a row, in the order they have. A baseline."""

from __future__ import annotations

from torch import Tensor

from nasplat.channels.graph import ParameterGraph
from nasplat.metanet.statistics import flat_weights
from nasplat.prediction import PredictorFactory

from ._weight_tables import Model, WeightTable


class FlatWeights(WeightTable):
    """A learner, `model`, on flat weights of networks of one form: it knows nothing of permutations."""

    def __init__(self, *, model: Model = "perceptron") -> None:
        super().__init__(model, {}, one_form=True)

    def columns(self, graph: ParameterGraph) -> Tensor:
        return flat_weights(graph)


PREDICTOR: PredictorFactory = FlatWeights
