"""What tracing found, in words and as a picture."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nasplat.channels.picture import ALONE, FIXED, FROZEN, SHARED, _fills
from nasplat.channels.spec import Frozen
from nasplat.errors import NasplatError

from .by_hand import chain, made


def test_the_table_names_spaces_sizes_and_tensors() -> None:
    _, spec = made("residual")
    assert repr(spec).splitlines() == [
        "ChannelSpec: 3 spaces of channels, 1 of them free to permute; graph of 16 nodes and 52 edges",
        "  space  size  kind    tensors",
        "  x         3  input   conv1[1]",
        "  conv1     4  hidden  conv1[0], conv2[0,1], fc[1], bn1 and 1 more",
        "  fc        5  output  fc[0]",
    ]


def test_the_table_says_which_blocks_channels_form() -> None:
    lines = str(made("grouped")[1]).splitlines()
    assert lines[1].split() == ["space", "size", "kind", "in", "blocks", "of", "tensors"]
    assert lines[5].split() == [
        "grouped",
        "6",
        "hidden",
        "grouped",
        "groups",
        "grouped[0],",
        "depth[0,1],",
        "up[0]",
    ]


def frozen_chain():
    _, spec = chain([2, 3, 2])
    why = Frozen("sort_1", "sort", "the order of its channels depends on values")
    hidden = replace(spec.spaces[1], kind="frozen", reason="sort")
    return replace(spec, spaces=(spec.spaces[0], hidden, spec.spaces[2]), frozen=(why,))


def test_the_table_gives_the_reason_for_every_frozen_operation() -> None:
    text = repr(frozen_chain())
    assert "space 1     3  frozen: sort" in text
    assert text.splitlines()[-3:] == [
        "Channels keep their order because of",
        "  node    operation  reason",
        "  sort_1  sort       the order of its channels depends on values",
    ]


def test_rows_that_share_channels_have_one_colour() -> None:
    assert _fills(made("residual")[1]) == [FIXED, SHARED[0], FIXED]
    assert _fills(made("grouped")[1]) == [FIXED, ALONE, ALONE, SHARED[0], ALONE, FIXED]
    assert _fills(frozen_chain()) == [FIXED, FROZEN, FIXED]


@pytest.mark.parametrize("name", ["residual", "grouped"])
def test_a_picture_has_a_bar_for_every_row_and_names_it(name) -> None:
    _, spec = made(name)
    figure = spec.picture()
    (axes,) = figure.axes
    words = [text.get_text() for text in axes.texts]
    assert words == [f"{row.name}  {len(row)}" for row in spec.structure.neurons]
    bars = [patch for patch in axes.patches if type(patch).__name__ == "Rectangle"]
    assert len(bars) == len(spec.structure.neurons)
    heights = dict(
        zip((len(row) for row in spec.structure.neurons), (bar.get_height() for bar in bars), strict=True)
    )
    assert sorted(heights, key=heights.get) == sorted(heights)


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_a_picture_is_saved_in_the_form_that_its_name_says(tmp_path, suffix) -> None:
    path = tmp_path / f"channels{suffix}"
    frozen_chain().picture(path)
    start = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}[suffix]
    assert path.read_bytes().startswith(start)
    assert list(tmp_path.iterdir()) == [path]


def test_another_form_of_picture_is_refused(tmp_path) -> None:
    with pytest.raises(NasplatError, match=r"channels\.doc.*\.png"):
        frozen_chain().picture(tmp_path / "channels.doc")
    assert not list(tmp_path.iterdir())
