"""A pool of known devices from a table, and a new device from a few networks of a study."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from nasplat import Study, load, open_study
from nasplat.errors import NasplatError
from nasplat.prediction import describe, load_predictor, save_predictor
from nasplat.prediction.card import find_trained
from nasplat.prediction.transfer import Transfer
from nasplat.study.assembly import assemble
from nasplat.study.fit import Order, fit_predictor
from nasplat.study.pool import PoolOrder, fit_pool
from nasplat.table import open_table

WriteStudy = Callable[..., Study]
DEVICES = ("fast", "slow", "wide")
BARE = 'name = "toy.py:BARE"'
COST = 'metric = "toy.py:cost"\ndirection = "minimize"'  # a * a + b: a device that no column holds


@pytest.fixture
def table(tmp_path: Path) -> str:
    """All 36 networks of the space "bare" on planted devices; some columns are no latencies."""
    lines = ["a,b,fast,slow,wide,dead,rare"]
    for a in range(1, 7):
        for b in range(1, 7):
            planted = (1 + a * a + 3 * b, 8 * a * a + b, 2 + 3 * a + b * b, a - 1, 7 if a * b == 1 else "")
            lines.append(",".join(map(str, (a, b, *planted))))
    (tmp_path / "devices.csv").write_text("\n".join(lines) + "\n")
    return str(tmp_path / "devices.csv")


@pytest.fixture
def measured(write_study: WriteStudy) -> Study:
    """A study that has measured eight networks on a device of its own."""
    study = write_study(study="trials = 8", space=BARE, objective=COST)
    study.run()
    return study


def test_a_pool_and_a_few_networks_tell_a_new_device(measured: Study, table: str, tmp_path: Path) -> None:
    pool = fit_pool(measured, PoolOrder(table, DEVICES), tmp_path / "pool")
    assert (pool.labels, pool.low, pool.high) == (3 * 36, 5, 8 * 36 + 6)
    assert pool.figures["devices"] == 3
    card = measured.fit("latency_transfer", "toy.py:cost", tmp_path / "new", pool=str(tmp_path / "pool"))
    predictor, kept = load_predictor(tmp_path / "new")
    assert (kept, card.labels) == (card, 8)
    space = assemble(measured).bench.space
    archs = list(space.enumerate())
    truth = np.array([arch["a"] ** 2 + arch["b"] for arch in archs], float)
    told = predictor.predict(describe(space, archs)).mean
    assert spearmanr(told, truth).statistic > 0.97
    assert np.median(np.abs(told / truth - 1)) < 0.1


def test_the_page_names_what_a_pool_has_told(measured: Study, table: str, write_study: WriteStudy) -> None:
    fit_pool(measured, PoolOrder(table, DEVICES), measured.folder / "pool")
    measured.fit(
        "latency_transfer", "toy.py:cost", measured.folder / "mine", pool=str(measured.folder / "pool")
    )
    page = 'metric = "predicted:../study/{}"\ndirection = "minimize"'
    again = write_study(study="trials = 4", space=BARE, objective=page.format("mine"), folder="again")
    again.run()
    assert again.frame["state"].eq("complete").all()
    early = write_study(space=BARE, objective=page.format("pool"), folder="early")
    with pytest.raises(NasplatError, match="is a pool of known devices: measure some networks on yours"):
        early.run()


def test_two_networks_are_enough_and_one_is_not(
    write_study: WriteStudy, measured: Study, table: str, tmp_path: Path
) -> None:
    fit_pool(measured, PoolOrder(table, ("fast", "slow")), tmp_path / "pool")
    for trials in (2, 1):
        few = write_study(study=f"trials = {trials}", space=BARE, objective=COST, folder=f"few{trials}")
        few.run()
        if trials == 2:
            card = few.fit("latency_transfer", "toy.py:cost", tmp_path / "two", pool=str(tmp_path / "pool"))
            assert card.labels == 2
        else:
            with pytest.raises(NasplatError, match="known of 1 architectures; expected at least 2"):
                few.fit("latency_transfer", "toy.py:cost", tmp_path / "one", pool=str(tmp_path / "pool"))


@pytest.mark.parametrize(
    ("devices", "line"),
    [
        (("fast",), "a pool of 1 known devices: give two or more"),
        (("fast", "slwo"), "no column of numbers 'slwo'; did you mean 'slow'"),
        (("fast", "gpu_*"), r"no column of numbers 'gpu_\*'"),
        (("fast", "dead"), "column 'dead' of table .* holds 0, which is no latency"),
        (("fast", "rare"), "column 'rare' of table .* has 1 numbers; expected at least 2"),
    ],
)
def test_columns_that_make_no_pool_are_one_line(
    measured: Study, table: str, tmp_path: Path, devices: tuple[str, ...], line: str
) -> None:
    with pytest.raises(NasplatError, match=line) as told:
        fit_pool(measured, PoolOrder(table, devices), tmp_path / "pool")
    assert "\n" not in str(told.value)
    assert not (tmp_path / "pool").exists()


def test_pools_that_do_not_fit_are_one_line(
    measured: Study, write_study: WriteStudy, table: str, tmp_path: Path
) -> None:
    pool, metric = str(tmp_path / "pool"), "toy.py:cost"
    fit_pool(measured, PoolOrder(table, DEVICES), tmp_path / "pool")
    other = write_study(space='name = "toy.py:ORDERED"', objective=COST, folder="other")
    other.run()
    other.fit("ridge", metric, tmp_path / "ridge")
    cases = [
        (measured, Order("latency_transfer", metric), "begins with a pool of known devices: give --pool"),
        (
            other,
            Order("latency_transfer", metric, pool=pool),
            "is of space 'bare' .* but the study's is 'ordered'",
        ),
        (
            measured,
            Order("ridge", metric, pool=pool),
            "is a pool for predictor 'latency_transfer', not for 'ridge'",
        ),
        (measured, Order("ridge", metric, pool=str(tmp_path / "ridge")), "holds a ridge, which is no pool"),
        (measured, Order("latency_transfer", metric, pool="nowhere"), "no trained predictor 'nowhere'"),
        (measured, Order("latency_transfer", metric, {"pairs": True}, pool=pool), "leave --arguments out"),
    ]
    for study, order, line in cases:
        with pytest.raises(NasplatError, match=line) as told:
            fit_predictor(study, order, tmp_path / "out")
        assert "\n" not in str(told.value)
        assert not (tmp_path / "out").exists()


PAGE = """
study = { name = "mine", trials = 10 }
space = { name = "nasbench201" }
sampler = { name = "random" }
objective = [{ metric = "table:nb201/gold_6226" }]
"""


def test_ten_published_latencies_tell_a_device_whose_family_the_pool_lacks(
    real_data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if not (real_data / "nb201").is_dir():
        pytest.skip(f"no published tables at {real_data}")
    monkeypatch.setenv("NASPLAT_DATA", str(real_data))
    shipped, card = load_predictor(find_trained("nb201_devices"))
    assert isinstance(shipped, Transfer)
    save_predictor(shipped.without(["gold_6226", "gold_6240"]), card, tmp_path / "others")
    (tmp_path / "study.toml").write_text(PAGE)
    study = open_study(tmp_path)
    study.run()
    metric, pool = "table:nb201/gold_6226", str(tmp_path / "others")
    study.fit("latency_transfer", metric, tmp_path / "gold", pool=pool)
    predictor, _ = load_predictor(tmp_path / "gold")
    space, table = load("spaces", "nasbench201")(), open_table("nb201")
    archs = [space.sample(np.random.default_rng(seed)) for seed in range(300)]
    samples = [sample for sample in describe(space, archs) if sample.graph and sample.graph.edges]
    rows, numbers = table.rows_of(space), table.numbers("gold_6226")
    truth = [numbers[rows(sample.arch) or 0] for sample in samples]
    assert spearmanr(predictor.predict(samples).mean, truth).statistic > 0.95  # the study says 0.986


def test_the_pool_that_ships_needs_no_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NASPLAT_DATA", raising=False)
    predictor, card = load_predictor(find_trained("nb201_devices"))
    space = load("spaces", "nasbench201")()
    card.check(space)
    assert card.figures["devices"] == len(card.device.split(", ")) == 23
    archs = [space.sample(np.random.default_rng(seed)) for seed in range(40)]
    samples = describe(space, archs)
    price = {"nor_conv_3x3": 3, "nor_conv_1x1": 1}  # a device that runs nothing but convolutions
    y = [1 + sum(price.get(str(word), 0) for word in arch.values()) for arch in archs]
    told = predictor.fit(samples[:10], y[:10]).predict(samples[10:]).mean
    assert spearmanr(told, y[10:]).statistic > 0.9
