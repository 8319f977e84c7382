"""The space of the Once-for-All table: its size, its words, and the rows of the table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nasplat.conformance import SPACE_PROMISES, check_space
from nasplat.errors import InvalidArchitecture
from nasplat.plugins import load
from nasplat.table import open_table

SPACE = load("spaces", "ofa")()
NETWORKS = {"running networks", "repeatable networks"}
KEY = "7-5-5-5-7-7-5-7-5-7-3-7-5-3-7-3-5-3-5-3 6-4-4-6-6-3-4-3-3-6-3-3-3-6-3-4-6-4-3-6 2-2-2-2-3 204"
CANONICAL = "7-5-0-0-7-7-0-0-5-7-0-0-5-3-0-0-5-3-5-0 6-4-0-0-6-3-0-0-3-6-0-0-3-6-0-0-6-4-3-0 2-2-2-2-3 204"


@pytest.mark.parametrize("promise", [promise for promise in SPACE_PROMISES if promise not in NETWORKS])
def test_it_keeps_every_promise_that_needs_no_network(promise: str) -> None:
    assert check_space(load("spaces", "ofa"), only=promise) == []


def test_it_has_the_published_size_at_every_side() -> None:
    assert (
        SPACE.size == 25 * (9**2 + 9**3 + 9**4) ** 5
    )  # arXiv:1908.09791, section 4.1: about 2e19 for one side


def test_values_of_blocks_that_are_left_out_do_not_matter() -> None:
    arch = SPACE.arch(SPACE.notation.read(KEY))
    assert (arch["resolution"], arch["depth5"], arch["kernel5_3"], arch["expand1_2"]) == (204, 3, 5, 4)
    assert "kernel1_3" not in arch
    assert SPACE.notation.spell(arch) == CANONICAL
    assert SPACE.arch(SPACE.notation.read(CANONICAL)) == arch
    assert SPACE.notation.graph is not None
    assert SPACE.notation.graph(arch).operations[1:3] == ("k7_e6", "k5_e4")


@pytest.mark.parametrize(
    "text", ["", "3-3 4-4 2-2 224", KEY.replace("204", "204-208"), KEY.replace("7", "x"), KEY + " 1"]
)
def test_other_texts_are_refused_in_one_line(text: str) -> None:
    with pytest.raises(InvalidArchitecture, match="is no Once-for-All network: expected 20 kernels") as told:
        SPACE.notation.read(text)
    assert "\n" not in str(told.value)


def test_every_row_of_the_table_is_found_by_its_architecture(
    real_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not (real_data / "ofa").is_dir():
        pytest.skip(f"no published tables at {real_data}")
    monkeypatch.setenv("NASPLAT_DATA", str(real_data))
    table = open_table("ofa")
    archs = table.archs(SPACE)
    rows = table.rows_of(SPACE)
    assert [rows(arch) for arch in archs] == list(range(5000))
    assert [a["resolution"] for a in archs] == table.frame["r"].astype(int).tolist()
    blocks = np.array([sum(name.startswith("kernel") for name in arch) for arch in archs])
    depths = table.frame["d"].str.split("-").map(lambda each: sum(map(int, each)))
    np.testing.assert_array_equal(blocks, depths)
