"""What a training knows of the mixture that it is for: which checkpoints are its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from nasplat import load
from nasplat.data import Dataset, Split
from nasplat.elastic import ElasticSpace
from nasplat.errors import TrainingError
from nasplat.supernet import METHODS, Schedule, Settings, train
from nasplat.supernet.mixtures import Setting, make_mixture

TINY: ElasticSpace = load("spaces", "elastic_convnet")(
    input_shape=(3, 6, 6), classes=3, stages=1, depth=(1, 2), width=(4, 8), kernel=(1, 3)
)
METHOD = METHODS["uniform"](epochs=1, batch_size=16, learning_rate=0.05)


def random_data() -> Dataset:
    rng = torch.Generator().manual_seed(7)
    x, y = torch.randn(48, 3, 6, 6, generator=rng), torch.arange(48) % 3
    return Dataset("noise", *(Split(x[a:b], y[a:b]) for a, b in ((0, 32), (32, 40), (40, 48))), classes=3)


DATA = random_data()
PLAIN = METHOD.schedule(TINY, DATA, 0)


def prepared(table: dict[str, Any]) -> tuple[nn.Module, Schedule]:
    mixture = make_mixture(table)
    net = TINY.shared(mixture.apply).supernet(0)
    return net, mixture.schedule(PLAIN, Setting(net, TINY, DATA, METHOD, 0))


ALIKE: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"kind": "dealt", "seed": 0}, {"kind": "dealt", "seed": 1}),
    ({"kind": "keyed", "choice": "width1"}, {"kind": "dealt"}),
    ({"kind": "moe"}, {"kind": "moe", "router": "frozen"}),
    ({"kind": "split", "splits": 1, "by": "random"}, {"kind": "split", "splits": 1, "by": "width1"}),
    ({"kind": "balanced", "experts": 2}, {"kind": "balanced", "experts": 2, "balance": False}),
]


@pytest.mark.parametrize(("first", "second"), ALIKE)
def test_a_checkpoint_of_another_mixture_is_refused_where_names_and_shapes_agree(
    first: dict[str, Any], second: dict[str, Any], tmp_path: Path
) -> None:
    settings = Settings(pulse=0, checkpoint=tmp_path / "checkpoint")
    net, schedule = prepared(first)
    train(net, DATA, schedule, METHOD, settings)
    other, others = prepared(second)
    shapes = [{n: t.shape for n, t in module.state_dict().items()} for module in (net, other)]
    assert shapes[0] == shapes[1]
    with pytest.raises(TrainingError, match="is a checkpoint of another training"):
        train(other, DATA, others, METHOD, settings)


def test_a_training_of_plain_slicing_is_the_one_without_a_mixture() -> None:
    assert prepared({"kind": "slice"})[1] == PLAIN


@pytest.mark.parametrize("execution", ["mask", "vmap"])
@pytest.mark.parametrize(
    "table",
    [
        {"kind": "balanced", "experts": 3},
        {"kind": "dealt"},
        {"kind": "split", "splits": 1},
        {"kind": "separate"},
    ],
)
def test_a_mixture_that_masks_would_train_as_a_whole_is_trained_in_slices_only(
    table: dict[str, Any], execution: str
) -> None:
    net, schedule = prepared(table)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with pytest.raises(TrainingError, match=rf"^execution = '{execution}': .* in slice only$"):
        train(net, DATA, schedule, METHOD, Settings(pulse=0, execution=execution))
    assert all(tensor.equal(before[name]) for name, tensor in net.state_dict().items())


def test_a_mixture_of_all_experts_can_be_masked() -> None:
    net, schedule = prepared({"kind": "moe"})
    train(net, DATA, schedule, METHOD, Settings(pulse=0, execution="mask"))
