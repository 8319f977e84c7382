"""Options of families: one option is no choice, blocks matter by depth, strides fit the image."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasplat.elastic import Scaled, Size
from nasplat.elastic.blocks.options import (
    Options,
    StageOptions,
    choices_of,
    factors,
    fit_strides,
    image_shape,
    odd,
    per_stage,
    rising,
    whole,
)
from nasplat.errors import NasplatError
from nasplat.space import Space


def test_one_option_is_a_constant_and_several_are_a_choice() -> None:
    one, several = Options("width1", (16,)), Options("width1", (8, 16))
    assert one.choices == []
    assert (one.size, several.size) == (Size(16), Size(16, "width1"))
    assert [(c.name, c.values) for c in several.choices] == [("width1", (8, 16))]
    factor = Options("expand", (3.0, 6.0)).times(16, multiple=8)
    assert factor == Scaled(Size(16), 6.0, "expand", 8)
    assert (factor({"expand": 3.0}), factor.maximum) == (48, 96)


def test_the_options_of_a_block_matter_where_the_stage_is_deep_enough() -> None:
    stage = StageOptions(2, (1, 3), {"kernel": (3, 5), "expand": (2,)})
    assert [choice.name for choice in stage.choices] == ["depth2", "kernel2_1", "kernel2_2", "kernel2_3"]
    space = Space("s", choices_of([Options("width", (4, 8)), stage]))
    assert space.size == 2 * (2 + 2**3)  # kernels^depth, summed over depths, times widths
    assert list(space.smallest()) == ["width", "depth2", "kernel2_1"]


@settings(max_examples=50, deadline=None)
@given(side=st.integers(1, 300), published=st.lists(st.integers(1, 3), min_size=1, max_size=6))
def test_strides_end_as_published_and_leave_three_pixels_where_they_can(
    side: int, published: list[int]
) -> None:
    fitted = fit_strides("f strides", None, published, side)
    ones = next((n for n in range(len(published)) if fitted[n:] == tuple(published[n:])), len(published))
    assert fitted[:ones] == (1,) * ones
    assert math.prod(fitted) == 1 or side / math.prod(fitted) >= 3
    larger = math.prod(fitted) * max(published)
    assert list(fitted) == published or published[ones - 1] == 1 or side / larger < 3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rising("f width", []), "f width = []: give at least one number, all above 0"),
        (lambda: rising("f width", [4, 0]), "f width = [4, 0]: give at least one number, all above 0"),
        (lambda: rising("f width", 8), "f width = 8: give a list of numbers"),
        (lambda: rising("f width", [float("nan")]), "f width = [nan]: give at least one number, all above 0"),
        (lambda: whole("f width", [8.5]), "f width = [8.5]: give whole numbers"),
        (lambda: factors("f ratio", 2.0), "f ratio = 2.0: give a list of numbers"),
        (lambda: image_shape("f", (28, 28)), "f input_shape = [28, 28]: give images as (channels, height, width)"),
        (lambda: image_shape("f", (3, 0, 16)), "give images as (channels, height, width)"),
        (lambda: per_stage("f depth", 3, 3), "f depth = 3: give a list of numbers"),
        (lambda: per_stage("f depth", [1.5], 1), "give one list, or one for each of 1 stages"),
        (lambda: fit_strides("f strides", [1.5], [2], 32), "give 1 whole numbers from 1 on"),
        (lambda: odd("f kernel", [3, 4]), "f kernel = [3, 4]: give odd numbers"),
        (lambda: odd("f kernel", []), "f kernel = []: give at least one number"),
        (lambda: per_stage("f depth", [[1], [2]], 3), "give one list, or one for each of 3 stages"),
        (lambda: fit_strides("f strides", [2, 2], [2, 2, 2], 32), "f strides = [2, 2]: give 3 whole numbers from 1 on"),
        (lambda: fit_strides("f strides", [2, 0, 1], [2, 2, 2], 32), "give 3 whole numbers from 1 on"),
        (lambda: fit_strides("f strides", [2, 2, 2], [2, 2, 2], 7), "by 8: a side of 7 pixels is too small"),
    ],
)  # fmt: skip
def test_options_that_make_no_sense_are_told_in_one_line(call: object, message: str) -> None:
    with pytest.raises(NasplatError) as error:
        call()  # type: ignore[operator]
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_lists_grow_from_stage_to_stage_or_are_taken_as_they_are() -> None:
    assert per_stage("f width", [6, 4], 2, 2) == [(4, 6), (8, 12)]
    assert per_stage("f width", [[6, 4], [5]], 2, 2) == [(4, 6), (5,)]
