from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, fx, nn

from nasplat.conformance import SCORE_PROMISES, SPACE_PROMISES, check_score, check_space
from nasplat.elastic import ElasticSpace
from nasplat.errors import NasplatError
from nasplat.plugins import load, names
from nasplat.scoring import Evidence, NotApplicable, Score
from nasplat.space import Arch, Space, categorical, ordinal

CHOICES = [
    ordinal("depth", (1, 2, 3)),
    categorical("act", ("relu", "gelu"), when={"depth": (2, 3)}),
    ordinal("width", (2, 4)),
]


def build(arch: Arch) -> nn.Module:
    width = int(arch["width"] or 0)
    hidden = [layer for _ in range(int(arch["depth"] or 0)) for layer in (nn.Linear(width, width), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), nn.Linear(8, width), *hidden, nn.Linear(width, 3))


class Plain(Space):
    """A space that keeps every promise; its children below break one each."""

    def __init__(self, **changes: Any) -> None:
        super().__init__(
            **({"name": "p", "choices": CHOICES, "build": build, "input_shape": (2, 4)} | changes)
        )


def test_a_sound_space_keeps_every_promise() -> None:
    assert check_space(Plain) == []


@pytest.mark.parametrize("promise", SPACE_PROMISES)
def test_the_built_in_space_keeps_every_promise(promise: str) -> None:
    arguments = {"input_shape": (1, 8, 8), "classes": 3, "stages": 2, "width": [4, 8], "depth": [1, 2]}
    assert check_space(load("spaces", "elastic_convnet"), only=promise, **arguments) == []


class ForgetsKeys(Plain):
    def params(self, arch: Mapping[str, Any]) -> dict[str, Any]:
        return super().params(arch) | {"depth": 1}


class KeepsInactive(Plain):
    def arch(self, values: Mapping[str, Any]) -> Arch:
        return Arch(dict(values))


class Miscounts(Plain):
    size = 11


class OneWay(Plain):
    def neighbours(self, arch: Arch) -> Iterator[Arch]:
        return (other for other in super().neighbours(arch) if other.key > arch.key)


class Lazy(Plain):
    def mutate(self, arch: Arch, rng: np.random.Generator) -> Arch:
        return arch


class Unordered(Plain):
    def distributions(self) -> dict[str, Any]:
        return dict(reversed(super().distributions().items()))


class Blurred(Plain):
    def encode(self, arch: Mapping[str, Any]) -> Any:
        return super().encode(arch).round()


class Restless(Plain):
    counter = itertools.count()

    def __init__(self) -> None:
        super().__init__(constants={"made": next(self.counter)})


def exploding(arch: Arch) -> nn.Module:
    module = build(arch)
    nn.init.constant_(module[-1].weight, float("nan"))  # type: ignore[index,union-attr,arg-type]
    return module


def unseeded(arch: Arch) -> nn.Module:
    module = build(arch)
    nn.init.constant_(module[-1].weight, np.random.default_rng().random())  # type: ignore[index,union-attr,arg-type]
    return module


class Split(nn.Module):
    """Computes something else while it is traced."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        return self.head(x * 2 if isinstance(x, fx.Proxy) else x)


class OtherShapes(ElasticSpace):
    def build(self, arch: Arch, seed: int = 0) -> nn.Module:
        torch.manual_seed(seed)
        return nn.Linear(4, 5)


def elastic(kind: type[ElasticSpace] = ElasticSpace) -> ElasticSpace:
    return kind("e", CHOICES, network=Split, input_shape=(4,))


@pytest.mark.parametrize(
    ("factory", "promise", "seen"),
    [
        (ForgetsKeys, "round trips", "is lost in its parameters"),
        (KeepsInactive, "canonical keys", "inactive choices change"),
        (Miscounts, "exact size", "size is 11, but enumerate.. gives 10"),
        (OneWay, "symmetric neighbours", "does not know its neighbour"),
        (Lazy, "valid moves", "leaves .* as it is"),
        (Unordered, "agreeing suggestions", "not in the order"),
        (Blurred, "injective encoding", "two architectures share a vector"),
        (Restless, "stable description", "made again has another hash"),
        (lambda: Plain(constants={"loss": object()}), "stable description", "not JSON serializable"),
        (lambda: Plain(build=exploding), "running networks", "weight of .* is not finite"),
        (lambda: Plain(input_shape=None), "running networks", "names no input_shape"),
        (lambda: Plain(build=lambda arch: None), "running networks", "gives a NoneType"),
        (lambda: Plain(build=None), "running networks", "has no builder"),
        (lambda: Plain(build=unseeded), "repeatable networks", "other weights the second time"),
        (elastic, "equal extraction", "away from the supernet"),
        (lambda: elastic(OtherShapes), "equal shapes", "build.. and extract.. differ"),
    ],
)
def test_a_broken_promise_of_a_space_is_named(factory: Callable[[], Space], promise: str, seen: str) -> None:
    (line,) = check_space(factory, only=promise)
    assert line.startswith(f"{promise}: ")
    assert "\n" not in line
    _matches(seen, line)


def _matches(pattern: str, line: str) -> None:
    assert re.search(pattern, line), line


def headed(classes: int, constants: dict[str, int] | None = None) -> Space:
    return Plain(build=lambda arch: nn.Sequential(build(arch), nn.Linear(3, classes)), constants=constants)


def test_arguments_that_change_networks_must_change_the_hash() -> None:
    (line,) = check_space(headed, only="telling hash", classes=3)
    _matches("^telling hash: classes = 4 makes other networks of one hash", line)
    assert check_space(lambda classes: headed(classes, {"classes": classes}), classes=3) == []
    assert check_space(lambda classes: Plain(), classes=3) == []


@pytest.mark.parametrize("name", [n for n in names("predictors") if isinstance(load("predictors", n), Score)])
@pytest.mark.parametrize("promise", SCORE_PROMISES)
def test_the_built_in_scores_keep_every_promise(name: str, promise: str) -> None:
    assert check_score(load("predictors", name), only=promise) == []


def weights(evidence: Evidence) -> tuple[float, Mapping[str, float]]:
    return float(sum(p.detach().abs().sum() for p in evidence.model.parameters())), {}


WEIGHTS = Score("weights", "maximize", frozenset(), "none", "our own", weights)


def peeks(evidence: Evidence) -> tuple[float, Mapping[str, float]]:
    return float(evidence.images[0].sum()), {}


def peeks_at_labels(evidence: Evidence) -> tuple[float, Mapping[str, float]]:
    return float(evidence.labels[0]), {}


def forgets_its_seed(evidence: Evidence) -> tuple[float, Mapping[str, float]]:
    return float(np.random.default_rng().random()), {}


def changes_images(evidence: Evidence) -> tuple[float, Mapping[str, float]]:
    evidence.images.zero_()
    return 1.0, {}


def endless_part(evidence: Evidence) -> tuple[float, Mapping[str, float]]:
    return 1.0, {"0": float("inf")}


def refuses(evidence: Evidence) -> tuple[float, Mapping[str, float]]:
    raise NotApplicable("only for graphs")


def test_a_sound_score_keeps_every_promise() -> None:
    assert check_score(WEIGHTS) == []
    assert check_score(replace(WEIGHTS, function=refuses)) == []


@pytest.mark.parametrize(
    ("changes", "promise", "seen"),
    [
        ({"direction": "up"}, "full contract", "direction is 'up'"),
        ({"needs": frozenset({"luck"})}, "full contract", "needs are"),
        ({"paper": ""}, "full contract", "paper is empty"),
        ({"shares": frozenset({"walk"})}, "full contract", "shares are"),
        ({"function": endless_part}, "clear answer", "not finite: 0"),
        ({"function": forgets_its_seed}, "repeatable answer", "then"),
        ({"function": changes_images}, "untouched network", "the batch has changed"),
        ({"function": peeks}, "declared needs", "needs lacks 'data'"),
        ({"function": peeks_at_labels}, "declared needs", "needs lacks 'labels'"),
    ],
)
def test_a_broken_promise_of_a_score_is_named(changes: dict[str, Any], promise: str, seen: str) -> None:
    (line,) = check_score(replace(WEIGHTS, **changes), only=promise)
    assert line.startswith(f"{promise}: ")
    _matches(seen, line)


def test_a_network_and_a_batch_of_ones_own_are_left_alone() -> None:
    model, images, labels = nn.Linear(3, 2).eval(), torch.ones(4, 3), torch.tensor([0, 1, 0, 1])
    assert check_score(WEIGHTS, model, images, labels) == []
    assert model.weight.grad is None
    assert not model.training


def test_an_unknown_promise_lists_the_known_ones() -> None:
    with pytest.raises(NasplatError, match="did you mean 'round trips'"):
        check_space(Plain, only="round trip")
