"""Neural predictors that read a cell: the words of its operations and its edges, padded to the largest cell."""

from __future__ import annotations

from collections.abc import Sequence

from nasplat.prediction.batching import Vocabulary, dense_batch, graphs_of
from nasplat.prediction.neural import Form, NeuralPredictor
from nasplat.prediction.sample import Sample
from nasplat.prediction.training import Inputs


class CellPredictor(NeuralPredictor):
    """A network of `dense_batch`: called with operations (n, v, w) and adjacency (n, v, v), or with what `read` of a
    plug-in makes of them. The form holds the words that were learned."""

    needs = frozenset({"graph"})

    def learn(self, samples: Sequence[Sample]) -> Form:
        return {"words": list(Vocabulary.of(graphs_of(samples)).words)}

    def read(self, samples: Sequence[Sample], form: Form) -> Inputs:
        return dense_batch(graphs_of(samples), Vocabulary(tuple(form["words"])))
