"""What makes sequences of inputs, against indexing and sums by hand."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasplat.elastic import (
    ElasticClassToken,
    ElasticEmbedding,
    ElasticPatches,
    ElasticPositions,
    ElasticTable,
    Size,
    extract,
    reset_parameters,
)
from nasplat.space import Arch

WIDTH = Size(8, "width")
NARROW = Arch({"width": 3})


def test_an_embedding_gives_the_first_columns_of_the_rows_of_the_tokens() -> None:
    layer, tokens = ElasticEmbedding(5, WIDTH), torch.tensor([[0, 4, 4], [2, 1, 0]])
    rows = layer.table.source.bank.weight_0
    assert torch.equal(layer(tokens, NARROW), rows[tokens][..., :3])
    assert torch.equal(extract(layer, NARROW)(tokens), rows[tokens][..., :3])


def test_tied_logits_are_products_with_the_vectors_and_share_one_parameter() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = ElasticEmbedding(5, WIDTH)

        def forward(self, tokens: Tensor, arch: Arch) -> Tensor:
            return self.embedding.logits(self.embedding(tokens, arch), arch)

    net, tokens = Tied(), torch.tensor([[0, 4, 2]])
    vectors = net.embedding.table.source.bank.weight_0[:, :3]
    subnet = extract(net, NARROW)
    torch.testing.assert_close(subnet(tokens), (vectors @ vectors.T)[tokens])
    torch.testing.assert_close(net(tokens, NARROW), (vectors @ vectors.T)[tokens])
    assert [tuple(p.shape) for p in subnet.parameters()] == [(5, 3)]


def test_positions_add_the_first_rows_of_their_table_to_sequences_of_any_length_up_to_it() -> None:
    layer = ElasticPositions(6, WIDTH)
    table = layer.table.source.bank.weight_0
    for length in (6, 4):
        x = torch.randn(2, length, 3)
        torch.testing.assert_close(layer(x, NARROW), x + table[:length, :3])
        torch.testing.assert_close(extract(layer, NARROW)(x), x + table[:length, :3])


def test_a_class_token_comes_first_and_leaves_the_others_as_they_are() -> None:
    layer, x = ElasticClassToken(WIDTH), torch.randn(2, 4, 3)
    for y in (layer(x, NARROW), extract(layer, NARROW)(x)):
        assert torch.equal(y[:, 1:], x)
        assert torch.equal(y[:, 0], layer.table.source.bank.weight_0[:, :3].expand(2, 3))


def test_patches_are_linear_in_the_pixels_of_each_patch_row_by_row() -> None:
    layer, images = ElasticPatches(2, WIDTH, 4), torch.randn(3, 2, 8, 12)
    bank = layer.conv.source.bank
    patches = F.unfold(images, 4, stride=4).transpose(1, 2)  # (n, 6, 2 * 4 * 4), in the order of the image
    expected = patches @ bank.weight_0[:3].flatten(1).T + bank.bias_0[:3]
    torch.testing.assert_close(layer(images, NARROW), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(extract(layer, NARROW)(images), expected, atol=1e-5, rtol=1e-5)
    first = F.conv2d(images[:, :, :4, :4], bank.weight_0[:3], bank.bias_0[:3]).flatten(1)
    torch.testing.assert_close(layer(images, NARROW)[:, 0], first, atol=1e-5, rtol=1e-5)


def test_a_plain_table_is_a_copy_that_is_drawn_anew_from_a_seed() -> None:
    layer = ElasticTable(50, Size(40, "width"))
    table = layer.plain(Arch({"width": 30}))
    reset_parameters(table, seed=1)
    drawn = table.weight.detach().clone()
    reset_parameters(table, seed=1)
    assert torch.equal(table.weight, drawn)
    assert not torch.equal(drawn, layer.source.bank.weight_0[:, :30])
    for values in (drawn, layer.source.bank.weight_0):
        torch.testing.assert_close(values.std().item(), 0.02, atol=2e-3, rtol=0)
