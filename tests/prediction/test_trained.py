"""The predictor that nasplat ships: where it is found, what it may be asked, how well it ranks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kendalltau

from nasplat import load, open_study
from nasplat.errors import NasplatError
from nasplat.prediction import describe, load_predictor
from nasplat.prediction.card import find_trained
from nasplat.table import open_table

NAME = "nb201_c10"
PAGE = """
study = {{ name = "t", trials = 3 }}
space = {{ name = "{space}" }}
objective = [{{ metric = "predicted:nb201_c10" }}]
"""


def test_it_is_found_by_its_name_and_is_of_the_built_in_space(tmp_path: Path) -> None:
    predictor, card = load_predictor(find_trained(NAME, tmp_path))
    space = load("spaces", "nasbench201")()
    card.check(space)
    assert (card.direction, card.unit, card.scores) == ("maximize", "%", ())
    said = predictor.predict(describe(space, [space.sample(np.random.default_rng(0))])).mean
    assert 0 < said[0] < 100


def test_a_study_without_data_searches_with_it(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(PAGE.format(space="nasbench201"))
    study = open_study(tmp_path)
    study.run()
    assert study.frame["predicted:nb201_c10"].between(0, 100).all()
    assert (study.frame["state"] == "complete").sum() == 3


def test_another_space_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(PAGE.format(space="transnas_micro"))
    with pytest.raises(
        NasplatError, match=r"learned from space 'nasbench201' .* but this is 'transnas_micro'"
    ) as told:
        open_study(tmp_path).run()
    assert "\n" not in str(told.value)


def test_it_ranks_networks_of_the_published_table(real_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not (real_data / "nb201").is_dir():
        pytest.skip(f"no published tables at {real_data}")
    monkeypatch.setenv("NASPLAT_DATA", str(real_data))
    predictor, _ = load_predictor(find_trained(NAME))
    space, table = load("spaces", "nasbench201")(), open_table("nb201")
    rows = np.random.default_rng(0).choice(len(table), 2000, replace=False)
    archs = [space.arch(space.notation.read(table.keys[row])) for row in rows]
    said = predictor.predict(describe(space, archs)).mean
    assert kendalltau(said, table.numbers("c10_valid_e200")[rows]).statistic > 0.8
