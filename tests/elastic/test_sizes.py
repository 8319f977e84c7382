"""Sizes: what they are in an architecture, and what they depend on."""

from __future__ import annotations

import pytest

from nasplat.elastic import Dimension, ElasticSpace, Quotient, Scaled, Size
from nasplat.space import Arch, ordinal

WIDTH = Size(32, "width")


@pytest.mark.parametrize(
    ("width", "narrow"), [(32, 16), (16, 8), (24, 8), (64, 24), (96, 32), (160, 56), (320, 112)]
)
def test_multiples_are_those_of_mobilenet_v2_at_width_0_35(width: int, narrow: int) -> None:
    """The channels of the published MobileNetV2 0.35 (its checkpoint keeps 320 * 0.35 = 112)."""
    assert Scaled(Size(width), 1.0, "by", multiple=8)(Arch({"by": 0.35})) == narrow


def test_multiples_never_fall_by_more_than_a_tenth_and_never_shrink_as_the_width_grows() -> None:
    sizes = [Scaled(Size(w), 0.75, multiple=8).maximum for w in range(1, 300)]
    assert sizes == sorted(sizes)
    assert all(s % 8 == 0 and s >= 0.9 * 0.75 * w for w, s in enumerate(sizes, 1))


@pytest.mark.parametrize(
    ("size", "names"),
    [
        (Size(3), ()),
        (WIDTH, ("width",)),
        (Scaled(WIDTH, 2.0), ("width",)),
        (Scaled(WIDTH, 2.0, "expand"), ("width", "expand")),
        (Scaled(WIDTH, 2.0, "width"), ("width",)),
        (Quotient(Scaled(WIDTH, 2.0, "expand"), WIDTH), ("width", "expand")),
    ],
)
def test_a_size_names_the_choices_that_decide_it_once_each(size: Dimension, names: tuple[str, ...]) -> None:
    assert size.choices == names


def test_equal_sizes_are_one_width() -> None:
    assert Scaled(Size(8, "width"), 2.0, "expand1") == Scaled(Size(8, "width"), 2.0, "expand1")
    assert Scaled(WIDTH, 2.0, "expand1") != Scaled(WIDTH, 2.0, "expand2")


def test_a_vocabulary_belongs_to_the_description_and_a_recipe_does_not(space: ElasticSpace) -> None:
    def made(**extra: object) -> ElasticSpace:
        choices = [ordinal("width", (1, 2))]
        return ElasticSpace("tokens", choices, network=space.network, input_shape=(8,), **extra)  # type: ignore[arg-type]

    assert made(recipe={"epochs": 3}).hash == made().hash != made(vocabulary=65).hash
    assert made(recipe={"epochs": 3}).recipe == {"epochs": 3}
    assert made(vocabulary=65).description["vocabulary"] == 65
    assert "vocabulary" not in made().description
