"""Blocks of transformers against torch's own encoder layer, and the options of a family."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nasplat.elastic import BlockSizes, Size, TransformerBlock, extract
from nasplat.elastic.blocks.transformer import transformer_options
from nasplat.errors import NasplatError
from nasplat.space import Arch

LISTS = {"depth": [2, 1], "width": [8, 16], "heads": [4, 2], "ratio": [1.0, 0.5]}


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("width", "heads", "hidden"), [(16, 4, 24), (8, 2, 5)])
def test_a_block_equals_torchs_encoder_layer_with_norms_first(
    width: int, heads: int, hidden: int, causal: bool
) -> None:
    sizes = BlockSizes(Size(16, "width"), Size(4, "heads"), 4, Size(24, "hidden"))
    block, arch = (
        TransformerBlock(sizes, causal=causal),
        Arch({"width": width, "heads": heads, "hidden": hidden}),
    )
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    subnet, ours = extract(block, arch), dict(extract(block, arch).named_parameters())
    torchs = nn.TransformerEncoderLayer(
        width, heads, hidden, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    )
    names = {
        "self_attn.in_proj_": "attention.qkv.",
        "self_attn.out_proj.": "attention.projection.",
        "linear1.": "feed_forward.widen.",
        "linear2.": "feed_forward.narrow.",
        "norm1.": "norm1.",
        "norm2.": "norm2.",
    }
    given = {t + leaf: ours[o + leaf] for t, o in names.items() for leaf in ("weight", "bias")}
    torchs.load_state_dict(given, strict=True)
    x = torch.randn(2, 6, width)
    mask = nn.Transformer.generate_square_subsequent_mask(6) if causal else None
    expected = torchs(x, src_mask=mask, is_causal=causal)
    torch.testing.assert_close(block(x, arch), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(subnet(x), expected, atol=1e-5, rtol=1e-5)


def test_options_become_choices_block_by_block_that_matter_by_depth() -> None:
    options = transformer_options("tiny", LISTS, None)
    names = ["depth", "width", "heads1", "ratio1", "heads2", "ratio2"]
    assert [choice.name for choice in options.choices] == names
    assert [choice.when for choice in options.choices[2:]] == [(), (), *[(("depth", (2,)),)] * 2]
    assert options.head_dim == 4
    largest = options.blocks[1]
    assert (largest.width.maximum, largest.heads.maximum, largest.hidden.maximum) == (16, 4, 16)
    assert largest.hidden(Arch({"width": 8, "ratio2": 0.5})) == 4


def test_hidden_units_can_be_numbers_of_their_own_and_single_options_are_no_choices() -> None:
    options = transformer_options("tiny", {"depth": [2], "width": [6], "heads": [2], "ffn": [9, 5]}, 8)
    assert [choice.name for choice in options.choices] == ["ffn1", "ffn2"]
    assert options.blocks[0] == BlockSizes(Size(6), Size(2), 8, Size(9, "ffn1"))


@pytest.mark.parametrize(
    ("changed", "head_dim", "message"),
    [
        (
            {"heads": [3]},
            None,
            "tiny width = 16 is not divisible by heads = 3: change one of them, or give head_dim",
        ),
        ({"depth": []}, None, "tiny depth = []: give at least one number, all above 0"),
        ({"ratio": [0.0]}, None, "tiny ratio = [0.0]: give at least one number, all above 0"),
        ({}, 0, "tiny head_dim = [0]: give at least one number, all above 0"),
    ],
)
def test_options_that_make_no_network_are_told_in_one_line(
    changed: dict[str, list[float]], head_dim: int | None, message: str
) -> None:
    with pytest.raises(NasplatError) as error:
        transformer_options("tiny", LISTS | changed, head_dim)
    assert str(error.value) == message
