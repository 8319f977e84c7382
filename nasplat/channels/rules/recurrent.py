"""Recurrent layers and cells: gates tied to the state that they drive."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from nasplat.channels.constants import is_nobody, meet, varied_axes
from nasplat.channels.ledger import Column
from nasplat.channels.rules.moving import as_activation
from nasplat.channels.rules.weighted import Layout, connect
from nasplat.channels.run import Call, Rule, Run
from nasplat.channels.spec import Frozen
from nasplat.channels.values import NONE, Activation, Weight, spread

LAYERS = ("LSTM", "GRU", "RNN")
PARAMETERS = ("weight_ih", "weight_hh", "weight_hr", "bias_ih", "bias_hh")


def layers(run: Run, call: Call) -> Any:
    """`nn.LSTM`, `nn.GRU`, `nn.RNN`: each layer and direction has its own state."""
    module, x = call.target, call.args[0]
    if not isinstance(x, Activation):
        return run.unknown(call, "its input has no channels")
    directions = ("", "_reverse") if module.bidirectional else ("",)
    into, states, cells = run.ledger.column(x.numbers, -1, name=call.name), [], []
    for depth in range(module.num_layers):
        found = [_state(run, call, f"_l{depth}{suffix}", into) for suffix in directions]
        states += [state for state, _ in found]
        cells += [cell for _, cell in found]
        into = torch.cat([state for state, _ in found])
    _tie_given(run, call, states, cells)
    output, last = call.value
    hidden = [last] if isinstance(last, Tensor) else list(last)
    kept = [_stacked(value, rows) for value, rows in zip(hidden, (states, cells), strict=False)]
    return Activation(output, spread(into, output.shape, -1)), kept[0] if isinstance(last, Tensor) else tuple(
        kept
    )


def _state(run: Run, call: Call, suffix: str, into: Tensor) -> tuple[Tensor, Tensor]:
    """The state that a layer gives back (after its projection, where it has one), and the state of its cell."""
    module, ledger = call.target, run.ledger
    names = {kind: f"{call.name}.{kind}{suffix}" for kind in PARAMETERS}
    size = module.hidden_size
    cell = ledger.row(f"{call.name}{suffix}", "state", size).numbers
    gates = connect(run, f"{call.name}{suffix}.gates", names["weight_ih"], into, Layout("linear"))
    ledger.join("gate", gates.reshape(-1, size), cell)
    state = cell
    if getattr(module, "proj_size", 0):
        state = connect(run, names["weight_hr"], names["weight_hr"], cell, Layout("linear"))
    connect(run, call.name, names["weight_hh"], state, Layout("linear"), gates)
    for name, column in ((names["bias_ih"], "bias"), (names["bias_hh"], "shift")):
        if name in run.shapes:
            ledger.columns[name] = Column(name, column, gates)
    return state, cell


def _tie_given(run: Run, call: Call, states: list[Tensor], cells: list[Tensor]) -> None:
    """A first state given from outside has the channels of the state, of each layer and direction: (l, ..., h)."""
    given = call.argument(1, "hx")
    parts = given if isinstance(given, tuple | list) else [] if given is None else [given]
    for part, rows in zip(parts, (states, cells), strict=False):
        one = as_activation(run, part) if isinstance(part, Weight) else part
        if is_nobody(one):
            axes = varied_axes(one)
            meet(run, call, torch.stack(rows), [-1] if -1 in axes else [])
            continue
        if len(rows) > 1:
            layers = [run.ledger.level(numbers, -1) for numbers in one.numbers]
        else:
            layers = [run.ledger.level(one.numbers, -1)]
        for numbers, row in zip(layers, rows, strict=True):
            run.ledger.tie(numbers, row)
            if bool((numbers == NONE).any()):
                run.ledger.freeze(
                    [row], Frozen(call.name, call.operation, "a part of its first state is constant")
                )


def _stacked(value: Tensor, rows: list[Tensor]) -> Activation:
    """States of layers and directions (l, batch, h), or (l, h) without a batch."""
    numbers = torch.stack(rows)
    return Activation(value, (numbers.unsqueeze(1) if value.ndim > 2 else numbers).expand(value.shape))


def cell(run: Run, call: Call) -> Any:
    """`nn.LSTMCell`, `nn.GRUCell`, `nn.RNNCell`: one step."""
    x = call.args[0]
    if not isinstance(x, Activation):
        return run.unknown(call, "its input has no channels")
    state, cells = _state(run, call, "", run.ledger.column(x.numbers, -1, name=call.name))
    _tie_given(run, call, [state], [cells])
    values = call.value if isinstance(call.value, tuple) else (call.value,)
    found = tuple(Activation(value, spread(state, value.shape, -1)) for value in values)
    return found if isinstance(call.value, tuple) else found[0]


def attention(run: Run, call: Call) -> Any:
    """`nn.MultiheadAttention(query, key, value)`: heads are blocks of queries, keys and values."""
    module: nn.MultiheadAttention = call.target
    query, key, value = (call.argument(place, word) for place, word in enumerate(("query", "key", "value")))
    if not all(isinstance(one, Activation) for one in (query, key, value)) or module.bias_k is not None:
        return run.unknown(call, "bias_kv and inputs without channels are not followed")
    sources = [run.ledger.column(one.numbers, -1, name=call.name) for one in (query, key, value)]
    inner = _projected(run, call, sources)
    queries, keys, values = (one.reshape(module.num_heads, -1) for one in inner)
    run.ledger.join("product", keys, queries)
    run.ledger.join("attention", keys[:, :, None], values[:, None, :])  # every key of a head to every value
    run.ledger.tie(run.ledger.group(queries), run.ledger.group(values))
    out = f"{call.name}.out_proj"
    targets = connect(run, out, f"{out}.weight", values.reshape(-1), Layout("linear"))
    _biased(run, f"{out}.bias", targets)
    output, weights = call.value
    return Activation(output, spread(targets, output.shape, -1), True), _seen(run, call, queries, weights)


def _seen(run: Run, call: Call, queries: Tensor, weights: Tensor | None) -> Any:
    """Who looks where: of each head, (n, heads, t, s), or their mean; and a mask that tells heads apart."""
    blocks = run.ledger.group(queries)
    mask = call.argument(5, "attn_mask")
    if (isinstance(mask, Tensor) and mask.ndim > 2) or isinstance(mask, Activation | Weight):
        run.ledger.freeze(
            [queries, blocks], Frozen(call.name, call.operation, "its mask may tell heads apart")
        )
    if weights is None:
        return None
    numbers = (
        torch.full((1, 1, 1), NONE)
        if call.argument(6, "average_attn_weights", True)
        else blocks[:, None, None]
    )
    return Activation(weights, numbers.expand(weights.shape))


def _projected(run: Run, call: Call, sources: list[Tensor]) -> list[Tensor]:
    ledger, fused = run.ledger, f"{call.name}.in_proj_weight"
    if fused in run.shapes:
        for other in sources[1:]:
            ledger.join("position", other, sources[0])
        targets = list(connect(run, f"{call.name}.in_proj", fused, sources[0], Layout("linear")).chunk(3))
    else:
        names = [f"{call.name}.{word}_proj_weight" for word in "qkv"]
        pairs = zip(names, sources, strict=True)
        targets = [connect(run, name, name, source, Layout("linear")) for name, source in pairs]
    _biased(run, f"{call.name}.in_proj_bias", torch.cat(targets))
    return targets


def _biased(run: Run, name: str, targets: Tensor) -> None:
    if name in run.shapes:
        run.ledger.columns.setdefault(name, Column(name, "bias", targets))


MODULES: dict[str, Rule] = {
    **dict.fromkeys(LAYERS, layers),
    **dict.fromkeys((f"{name}Cell" for name in LAYERS), cell),
    "MultiheadAttention": attention,
}
