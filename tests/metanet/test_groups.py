"""Groups of networks of one form."""

from __future__ import annotations

import pytest
import torch

from nasplat.errors import NasplatError
from nasplat.metanet.groups import fingerprint, grouped, taken

from .by_hand import CNN, MLP, filled, relabelled, structure


def test_networks_are_grouped_by_form_and_keep_their_places() -> None:
    forms = [structure(CNN), structure(MLP), structure(CNN)]  # the first and the last are equal, not the same
    graphs = [filled(forms[i % 3], seed=i) for i in range(6)]
    first, second = grouped(graphs)
    assert first.rows.tolist() == [0, 2, 3, 5]
    assert second.rows.tolist() == [1, 4]
    assert torch.equal(first.graph.tensors["l0.weight"][2], graphs[3].tensors["l0.weight"])
    assert first.graph.batch == (4,)


def test_forms_differ_where_anything_that_is_read_differs() -> None:
    plain = structure(CNN)
    others = [
        structure(CNN, activation="tanh"),
        structure(CNN, norms=True),
        relabelled(plain, 1)[0],
        structure(MLP),
    ]
    prints = {fingerprint(form) for form in [plain, *others]}
    assert len(prints) == 5
    assert fingerprint(structure(CNN)) == fingerprint(plain)


def test_some_networks_are_taken_in_the_order_asked_for() -> None:
    many = filled(structure(MLP), batch=(5,))
    few = taken(many, torch.tensor([4, 1]))
    assert few.batch == (2,)
    assert torch.equal(few.tensors["l1.bias"][0], many.tensors["l1.bias"][4])


def test_a_batch_among_single_networks_is_refused() -> None:
    form = structure(MLP)
    with pytest.raises(NasplatError, match="network 1 is a batch of shape"):
        grouped([filled(form), filled(form, batch=(2,))])
