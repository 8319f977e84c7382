"""Pictures of networks: valid SVG that shows every layer, where the links are, and the same text every time."""

from __future__ import annotations

import copy
import re
from xml.etree import ElementTree

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasplat.draw import draw
from nasplat.draw.layout import MARGIN, ROW_WIDTH, block_height, block_width, rows
from nasplat.draw.trace import Link, Strip, trace

SVG = "{http://www.w3.org/2000/svg}"


class Residual(nn.Module):
    """Two convolutions beside a projection."""

    def __init__(self, i: int, o: int, kernel: int) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(i, o, kernel, 2, kernel // 2), nn.Conv2d(o, o, 3, 1, 1)
        self.short = nn.Conv2d(i, o, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.two(F.relu(self.one(x))) + self.short(x))


def network() -> nn.Sequential:
    stem = [nn.Conv2d(3, 8, 3, 1, 1), nn.BatchNorm2d(8), nn.ReLU()]
    return nn.Sequential(*stem, Residual(8, 16, 5), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4))


EXAMPLE = torch.zeros(2, 3, 8, 8)


def words(svg: str) -> list[str]:
    return [node.text or "" for node in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_the_strip_has_every_layer_in_order_and_the_projection_on_its_link() -> None:
    strip = trace(network(), EXAMPLE)
    assert [b.name for b in strip.blocks] == ["0", "3.one", "3.two", "4", "6"]
    assert [b.size for b in strip.blocks] == [(8, 8), (4, 4), (4, 4), (1, 1), ()]
    assert [b.channels for b in strip.blocks] == [8, 16, 16, 16, 4]
    (link,) = strip.links
    assert (link.how, link.start, link.end, [b.name for b in link.aside]) == ("sum", 0, 2, ["3.short"])
    assert strip.output_shape == (4,)


def test_an_identity_shortcut_is_a_link_without_layers() -> None:
    class Identity(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 3, 3, 1, 1), nn.Conv2d(3, 3, 3, 1, 1)

        def forward(self, x: Tensor) -> Tensor:
            return x + self.b(self.a(x))

    assert trace(Identity(), EXAMPLE).links == (Link("sum", -1, 1, ()),)


def test_functional_pooling_and_slicing_are_seen_by_their_shapes() -> None:
    class Pooled(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.max_pool2d(x, 2)[:, :, ::2, ::2].mean((2, 3))

    assert [(b.kind, b.label) for b in trace(Pooled(), EXAMPLE).blocks] == [
        ("pool", "max"),
        ("pool", "sub"),
        ("pool", "global"),
    ]


def test_a_network_that_cannot_be_traced_keeps_its_layers_in_order() -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.second, self.first = nn.Conv2d(8, 4, 1), nn.Conv2d(3, 8, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.second(self.first(x)) if x.shape[0] > 0 else x

    strip = trace(Branching(), EXAMPLE)
    assert [b.name for b in strip.blocks] == ["first", "second"]
    assert strip.links == ()


def test_the_picture_is_valid_and_tells_layers_sizes_and_counts() -> None:
    shown = words(draw(network(), EXAMPLE, title="trial 17 <a & b>", key="3fa9c01b"))
    times = "\N{MULTIPLICATION SIGN}"
    assert "trial 17 <a & b>" in shown
    assert "3fa9c01b" in shown
    assert {f"3{times}3", f"5{times}5 /2", f"1{times}1 /2", "linear", "global"} <= set(shown)
    assert {"8\N{SUPERSCRIPT TWO}", "4\N{SUPERSCRIPT TWO}", "pooling"} <= set(shown)
    params = 8 * 28 + 16 + (16 * 201 + 16 * 145 + 16 * 9) + 68
    macs = 64 * 8 * 27 + 16 * 16 * (200 + 144 + 8) + 64
    assert (
        f"{params / 1e3:.3g} k parameters, {macs / 1e3:.3g} k multiply-adds, input 3{times}8{times}8" in shown
    )


def test_equal_networks_give_equal_text_and_the_module_stays_as_it_was() -> None:
    net = network().train()
    before = copy.deepcopy(net.state_dict())
    assert draw(net, EXAMPLE) == draw(network(), torch.ones(5, 3, 8, 8))
    assert net.training
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_height_grows_with_resolution_and_width_with_channels() -> None:
    strip = trace(network(), EXAMPLE)
    heights = [block_height(b.size) for b in strip.blocks]
    widths = [block_width(b) for b in strip.blocks]
    assert heights[0] > heights[1] > heights[3]
    assert widths[1] > widths[0] > widths[4]


@pytest.mark.parametrize("depth", [1, 60, 200])
def test_a_long_network_is_broken_into_rows_that_fit(depth: int) -> None:
    block = trace(network(), EXAMPLE).blocks[0]
    links = tuple(Link("sum", i, i + 3, ()) for i in range(0, depth - 3, 3))
    lines = rows(Strip((block,) * depth, links, (3, 8, 8), (4,)))
    assert [p.index for row in lines for p in row.places] == list(range(depth))
    assert all(p.x >= MARGIN and p.x + p.width <= row.right for row in lines for p in row.places)
    assert all(row.right <= ROW_WIDTH for row in lines)
    assert all(arc.starts and arc.ends for row in lines for arc in row.arcs)  # broken between links


def test_a_link_over_the_edge_of_a_row_goes_on_in_the_next() -> None:
    block = trace(network(), EXAMPLE).blocks[0]
    lines = rows(Strip((block,) * 60, (Link("sum", -1, 59, ()),), (3, 8, 8), (4,)))
    ends = [(arc.starts, arc.ends) for row in lines for arc in row.arcs]
    assert ends[0] == (True, False)
    assert ends[-1] == (False, True)


def test_a_longer_link_passes_above_the_ones_that_it_spans() -> None:
    block = trace(network(), EXAMPLE).blocks[0]
    (row,) = rows(Strip((block,) * 6, (Link("sum", 0, 4, ()), Link("sum", 1, 3, ())), (3, 8, 8), (4,)))
    rise = {arc.link.start: arc.rise for arc in row.arcs}
    assert rise[0] > rise[1] > row.half


def test_numbers_of_a_picture_are_short() -> None:
    assert not re.search(r"\d\.\d{2,}", draw(network(), EXAMPLE, title="t").split("</text>", 2)[2])
