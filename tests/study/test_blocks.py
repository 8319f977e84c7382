"""A look-up table from measured operations: planted costs come back, and a study names the table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from nasplat import Study
from nasplat.errors import NasplatError
from nasplat.measure import OperationCosts, device_info
from nasplat.measure import operations as operations_of
from nasplat.prediction import describe, load_predictor
from nasplat.study import blocks
from nasplat.study.assembly import assemble
from nasplat.study.blocks import BlocksOrder, fit_blocks

WriteStudy = Callable[..., Study]
CHAIN = """
from torch import nn

from nasplat import Space, categorical

PLACES = ("first", "second", "third")


def build(arch) -> nn.Module:
    kinds = {"none": nn.Identity, "relu": nn.ReLU, "conv": lambda: nn.Conv2d(3, 3, 3, padding=1)}
    return nn.Sequential(nn.Conv2d(3, 3, 1), *(kinds[arch[name]]() for name in PLACES))


def space() -> Space:
    choices = [categorical(name, ["none", "relu", "conv"]) for name in PLACES]
    return Space("chain", choices, build=build, input_shape=(3, 8, 8))
"""
PLANTED = {"relu": 1.0, "conv2d": 4.0}
"""Milliseconds of an operation; what stands before the choices is a convolution too."""


@pytest.fixture
def chain(write_study: WriteStudy) -> Study:
    study = write_study(space='name = "chain.py:space"', objective='metric = "latency"')
    (study.folder / "chain.py").write_text(CHAIN)
    return study


def planted(
    networks: Iterable[nn.Module], example: Any, **_: Any
) -> tuple[OperationCosts, Sequence[Sequence[str]]]:
    """Costs that are known, in place of measured ones, of the operations that the networks run."""
    names = [operations_of(network, example) for network in networks]
    costs = {name: PLANTED[name.split(".")[0]] for each in names for name in each}
    return OperationCosts(costs, 0.5, 5, device_info("cpu")), names


def test_the_table_is_the_sum_of_what_the_operations_of_each_choice_cost(
    chain: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "measure_operations", planted)
    card = fit_blocks(chain, BlocksOrder(networks=27, check=0), tmp_path / "table")
    predictor, kept = load_predictor(tmp_path / "table")
    assert kept == card
    assert (card.plug_in, card.unit, card.labels) == ("latency_table", "ms", 27)
    assert card.figures["operations"] == 3
    assert card.figures["additive_error"] < 1e-3
    space = assemble(chain).bench.space
    archs = list(space.enumerate())
    price = {"none": 0.0, "relu": 1.5, "conv": 4.5}
    truth = [4.5 + sum(price[str(word)] for word in arch.values()) for arch in archs]
    np.testing.assert_allclose(predictor.predict(describe(space, archs)).mean, truth, rtol=5e-3)


def test_a_study_names_the_table_that_was_measured(chain: Study) -> None:
    card = fit_blocks(chain, BlocksOrder(networks=12, check=2, threads=1), chain.folder / "table")
    assert card.device == device_info("cpu").name
    assert card.low > 0
    assert 0 <= card.figures["checked"] <= 2
    page = (chain.folder / "study.toml").read_text().replace('"latency"', '"predicted:table"')
    (chain.folder / "study.toml").write_text(page)
    chain = Study(chain.folder / "study.toml")
    chain.run()
    assert chain.frame["predicted:table"].gt(0).all()


@pytest.mark.parametrize(
    ("space", "device", "line"),
    [
        ("toy.py:BARE", None, "space 'bare' has no networks whose operations could be measured"),
        ("toy.py:SPACE", "gpu", "device 'gpu' is unknown"),
    ],
)
def test_what_cannot_be_measured_is_one_line(
    write_study: WriteStudy, tmp_path: Path, space: str, device: str | None, line: str
) -> None:
    study = write_study(space=f'name = "{space}"')
    with pytest.raises(NasplatError, match=line) as told:
        fit_blocks(study, BlocksOrder(device=device), tmp_path / "table")
    assert "\n" not in str(told.value)
    assert not (tmp_path / "table").exists()
