"""The networks of a zoo as what predictors learn from, and those among them that are alike."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from nasplat.channels import channel_spec, permute_state, random_permutation
from nasplat.errors import DataError
from nasplat.zoo import Form, alike, read_zoo, samples
from nasplat.zoo.group import Group
from nasplat.zoo.zoo import Zoo, zoo_of

FORM = Form("plain", (1, 8, 8), 3, 4, 2, "relu")


def zoo_of_six() -> Zoo:
    """Networks 0 to 4 at random; network 5 is network 2 with its channels in another order."""
    modules = []
    for seed in range(5):
        torch.manual_seed(seed)
        modules.append(FORM.make())
    spec = channel_spec(modules[2], torch.zeros(2, 1, 8, 8))
    order = random_permutation(spec, torch.Generator().manual_seed(0))
    states = [dict(module.state_dict()) for module in modules]
    states.append(permute_state(spec, states[2], order))
    assert not torch.equal(*(next(iter(states[k].values())) for k in (2, 5)))
    stacked = {name: torch.stack([state[name] for state in states]) for name in states[0]}
    form = {"family": "plain", "input_shape": [1, 8, 8], "width": 4}
    rows = tuple({"number": k, "status": "trained"} for k in range(6))
    return zoo_of([Group("plain", form, FORM.make, stacked, rows)], {})


def test_each_network_is_a_sample_with_its_own_weights() -> None:
    zoo = zoo_of_six()
    for (_, module), sample in zip(zoo, samples(zoo), strict=True):
        assert sample.weights is not None
        state = module.state_dict()
        assert all(torch.equal(sample.weights.tensors[name], state[name]) for name in state)


def test_the_network_most_like_one_is_the_same_with_its_channels_in_another_order() -> None:
    found = alike(zoo_of_six(), 2, count=3)
    assert found["network"].iloc[0] == 5
    assert found["distance"].iloc[0] == pytest.approx(0, abs=1e-3)
    assert 2 not in set(found["network"])


def test_codes_of_one_s_own_decide_what_is_alike() -> None:
    found = alike(
        zoo_of_six(), 0, count=2, embed=lambda s: torch.arange(float(len(s)))[:, None].double().numpy()
    )
    assert found["network"].tolist() == [1, 2]


def test_a_folder_of_state_dicts_needs_an_example(tmp_path: Path) -> None:
    for k in range(2):
        save_file(nn.Linear(3, 2).state_dict(), tmp_path / f"{k}.safetensors")
    zoo = read_zoo(tmp_path, lambda: nn.Linear(3, 2))
    with pytest.raises(DataError, match="does not say what its networks take: give an example"):
        samples(zoo)
    assert len(samples(zoo, torch.zeros(2, 3))) == 2
    assert alike(zoo, 0, example=torch.zeros(2, 3))["network"].tolist() == [1]


def test_a_number_that_is_not_there_is_refused() -> None:
    with pytest.raises(IndexError, match="choose 0 to 5"):
        alike(zoo_of_six(), 6)
