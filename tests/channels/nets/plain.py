"""Perceptrons, recurrent and graph networks, shared and gated modules, as people write them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Siren(nn.Module):
    """An implicit representation: (n, 2) places -> (n, 1) values (arXiv:2006.09661)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(2, 8), nn.Linear(8, 9)])
        self.last = nn.Linear(9, 1)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.sin(30.0 * layer(x))
        return self.last(x)


class GatedNet(nn.Module):
    """Gates of three spellings (arXiv:2002.05202): a chunk and a product, two layers, and torch's own."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(4, 6)
        self.norm1, self.wide, self.back1 = nn.RMSNorm(6), nn.Linear(6, 16), nn.Linear(8, 6)
        self.w1, self.w3, self.w2 = (
            nn.Linear(6, 10, bias=False),
            nn.Linear(6, 10, bias=False),
            nn.Linear(10, 6),
        )
        self.glu, self.back3 = nn.Linear(6, 10), nn.Linear(5, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        value, gate = self.wide(self.norm1(x)).chunk(2, dim=-1)
        x = x + self.back1(value * torch.sigmoid(gate))
        x = x + self.w2(F.silu(self.w1(x)) * self.w3(x))
        x = x + self.back3(F.glu(self.glu(x), dim=-1))
        return self.head(x)


class SharedLayers(nn.Module):
    """One layer that runs twice, one encoder for two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.encode, self.again = nn.Linear(4, 7), nn.Linear(7, 7)
        self.head = nn.Linear(14, 3)

    def embed(self, x: Tensor) -> Tensor:
        x = torch.relu(self.encode(x))
        return torch.relu(self.again(torch.relu(self.again(x))))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return self.head(torch.cat([self.embed(first), self.embed(second)], dim=-1))


class TiedAutoencoder(nn.Module):
    """Decodes with the transpose of the encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.bias = nn.Linear(6, 4), nn.Parameter(torch.zeros(6))

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.encoder(x))
        return F.linear(h, self.encoder.weight.t(), self.bias)


class RecurrentClassifier(nn.Module):
    """The last state of a recurrent network reads the class from a sequence of tokens."""

    def __init__(self, kind: type[nn.LSTM] | type[nn.GRU], layers: int = 2) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 5)
        self.rnn = kind(5, 6, num_layers=layers, batch_first=True)
        self.fc = nn.Linear(6, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        out, _ = self.rnn(self.embed(tokens))
        return self.fc(out[:, -1])


class RecurrentCell(nn.Module):
    """A gated cell written by hand, unrolled over four steps."""

    def __init__(self) -> None:
        super().__init__()
        self.x2h, self.h2h = nn.Linear(3, 12), nn.Linear(6, 12)
        self.fc = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.shape[0], 6)
        for step in range(4):
            update, new = (self.x2h(x[:, step]) + self.h2h(h)).chunk(2, 1)
            z = torch.sigmoid(update)
            h = (1 - z) * h + z * torch.tanh(new)
        return self.fc(h)


def graph_network(kind: str) -> nn.Module:
    """Two layers of torch_geometric ("GCNConv", "SAGEConv") that read features and edges."""
    import torch_geometric.nn as geometric

    layer = getattr(geometric, kind)

    class GraphNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.conv2 = layer(4, 8), layer(8, 3)

        def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
            x = F.relu(self.conv1(x, edge_index))
            x = F.dropout(x, p=0.5, training=self.training)
            return self.conv2(x, edge_index)

    return GraphNet()
