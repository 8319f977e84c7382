"""Products of matrices: attention, and weights that are plain parameters."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from nasplat.channels.rules.pointwise import combine
from nasplat.channels.rules.weighted import Layout, layer
from nasplat.channels.run import Call, Rule, Run
from nasplat.channels.values import NONE, Activation, Weight, carriers


def matmul(run: Run, call: Call) -> Any:
    """`a @ b`: a parameter on the right or left is a linear layer; two activations are tied where they meet."""
    return product(run, call, *call.args[:2])


def product(run: Run, call: Call, first: Any, second: Any) -> Any:
    """(..., m, k) times (..., k, n)."""
    if isinstance(first, Activation) and isinstance(second, Weight):
        if second.value.ndim == 2:
            return layer(run, call, first, -1, (second, None), Layout("linear", 1, 0))
    elif isinstance(second, Activation) and isinstance(first, Weight):
        if first.value.ndim == 2 and second.value.ndim > 1:
            return layer(run, call, second, -2, (first, None), Layout("linear"))
    elif isinstance(first, Weight) or isinstance(second, Weight):
        return run.unknown(call, "a weight meets another")
    else:
        return _of_activations(run, call, _active(first), _active(second))
    return run.unknown(call, "a parameter of this form is multiplied with channels")


def _active(value: Any) -> Activation:
    return (
        value if isinstance(value, Activation) else Activation(value, torch.tensor(NONE).expand(value.shape))
    )


def _of_activations(run: Run, call: Call, first: Activation, second: Activation) -> Any:
    if min(first.value.ndim, second.value.ndim) < 2:
        return run.unknown(call, "a vector is multiplied")
    met = _moves(first.numbers, -1), _moves(second.numbers, -2)
    free = _moves(first.numbers, -2), _moves(second.numbers, -1)
    if any(met) and not any(free):
        return _met(run, call, first, second)
    if any(met) or all(free):
        return run.unknown(call, "channels meet places in it")
    return _passed(run, call, first, second, free[0])


def _moves(numbers: Tensor, axis: int) -> bool:
    """Whether numbers differ along an axis."""
    return bool((numbers != numbers.narrow(axis, 0, 1)).any())


def _met(run: Run, call: Call, first: Activation, second: Activation) -> Any:
    """Channels meet channels: queries and keys. What comes out belongs to the block that they form, a head."""
    one, two = first.numbers.select(-2, 0), second.numbers.select(-1, 0)
    one, two = torch.broadcast_tensors(one, two)
    if bool(((one == NONE) != (two == NONE)).any()):
        return run.unknown(call, "channels meet constants in it")
    run.ledger.tie(one, two)
    if bool((one > NONE).all() & (two > NONE).all()):
        run.ledger.join("product", one, two)
    rows, places = one.reshape(-1, one.shape[-1]).unique(dim=0, return_inverse=True)
    blocks = run.ledger.sets([row.unique() for row in rows])
    return Activation(call.value, blocks[places].reshape(*one.shape[:-1], 1, 1).expand(call.value.shape))


def _passed(run: Run, call: Call, first: Activation, second: Activation, left: bool) -> Any:
    """Channels pass, mixed over places, weighted by what may belong to a head: attention times values."""
    kept, weights = (first, second) if left else (second, first)
    numbers = kept.numbers.select(-1 if left else -2, 0)
    heads = weights.numbers.select(-1, 0).select(-1, 0)
    heads, rows = torch.broadcast_tensors(heads.unsqueeze(-1), numbers)
    rows, heads = rows.reshape(-1, numbers.shape[-1]), heads[..., 0].reshape(-1)
    both = torch.cat((rows, heads[:, None]), 1).unique(dim=0)
    if bool((both[:, -1] != NONE).any()) and numbers.shape[-1] > 1:
        run.ledger.tie(run.ledger.group(both[:, :-1]), both[:, -1])
    elif numbers.shape[-1] == 1:
        run.ledger.tie(both[:, 0], both[:, -1])
    shape = call.value.shape
    return Activation(call.value, numbers.unsqueeze(-1 if left else -2).expand(shape))


def einsum(run: Run, call: Call) -> Any:
    """`einsum(equation, a, b)` of two activations: letters of both that do not come out meet, as in a product."""
    equation = call.args[0]
    operands = [one for one in carriers(call.args[1:]) if isinstance(one, Activation)]
    letters = _letters(equation) if isinstance(equation, str) and len(operands) == 2 else None
    if letters is None:
        return run.unknown(call, "only two activations without repeated letters are followed through it")
    first, second, out = letters
    both = [letter for letter in first if letter in second and letter in out]
    met = [letter for letter in first if letter in second and letter not in out]
    left, right = ([letter for letter in one if letter not in (*both, *met)] for one in (first, second))
    if not met or set(out) != {*both, *left, *right}:
        return run.unknown(call, "it sums over letters of one operand, or none")
    sizes = dict(zip(first + second, (*operands[0].value.shape, *operands[1].value.shape), strict=True))
    one = _turned(operands[0], first, (both, left, met), sizes)
    two = _turned(operands[1], second, (both, met, right), sizes)
    whole, call.value = call.value, one.value @ two.value
    result = product(run, call, one, two)
    call.value = whole
    if not isinstance(result, Activation):
        return result
    spread = result.numbers.reshape([sizes[letter] for letter in (*both, *left, *right)])
    return Activation(whole, spread.permute([(*both, *left, *right).index(letter) for letter in out]))


def _letters(equation: str) -> tuple[str, str, str] | None:
    """Of two operands and of what comes out, where no operand repeats one."""
    sides, _, out = equation.replace(" ", "").partition("->")
    first, _, second = sides.partition(",")
    plain = all(part.isalpha() and len(set(part)) == len(part) for part in (first, second, out))
    return (first, second, out) if plain else None


def _turned(
    one: Activation, letters: str, parts: tuple[list[str], list[str], list[str]], sizes: dict[str, int]
) -> Activation:
    """With the axes of three parts in order, the last two parts being one axis each."""
    order = [letters.index(letter) for part in parts for letter in part]
    shape = [sizes[letter] for letter in parts[0]]
    shape += [math.prod(sizes[letter] for letter in part) for part in parts[1:]]
    return Activation(one.value.permute(order).reshape(shape), one.numbers.permute(order).reshape(shape))


def attention(run: Run, call: Call) -> Any:
    """`scaled_dot_product_attention(q, k, v)`, each (..., heads, places, d)."""
    query, key, value = (call.argument(place, word) for place, word in enumerate(("query", "key", "value")))
    if any(isinstance(one, Weight) for one in (query, key, value)):
        return run.unknown(call, "a parameter is a query, key or value")
    query, key, value = (_active(one) for one in (query, key, value))
    if call.argument(7, "enable_gqa", False):
        key, value = (_repeated(one, query) for one in (key, value))
    turned = replace(key, value=key.value.transpose(-1, -2), numbers=key.numbers.transpose(-1, -2))
    whole = call.value
    call.value = _scores(query, key)
    scores = product(run, call, query, turned)
    mask = call.argument(3, "attn_mask")
    if mask is not None and isinstance(scores, Activation):
        masked = Call(call.name, "add", torch.add, (scores, mask), {})
        masked.value = call.value
        scores = combine(run, masked)
    call.value = whole
    result = product(run, call, scores, value)
    _see(run, key, value)
    return result


def _scores(query: Activation, key: Activation) -> Tensor:
    return query.value.new_empty(*query.value.shape[:-1], key.value.shape[-2])


def _repeated(one: Activation, query: Activation) -> Activation:
    times = query.value.shape[-3] // one.value.shape[-3]
    return Activation(one.value.repeat_interleave(times, -3), one.numbers.repeat_interleave(times, -3))


def _see(run: Run, key: Activation, value: Activation) -> None:
    """Values depend on keys, and through these on queries, of their head: on all alike, where heads fit."""
    one, two = key.numbers[..., 0, :, None], value.numbers[..., 0, None, :]
    if one.shape[:-2] == two.shape[:-2] and bool((one > NONE).all() & (two > NONE).all()):
        run.ledger.join("attention", one, two)


RULES: dict[str, Rule] = {
    **dict.fromkeys(("matmul", "bmm", "mm", "__matmul__", "matmul_"), matmul),
    "einsum": einsum,
    "scaled_dot_product_attention": attention,
}
