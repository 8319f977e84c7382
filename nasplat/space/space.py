"""A search space: ordered named choices with conditions, and a builder.

Every operation walks over the choices in their order, takes a value where a choice is active and skips it
where it is not, so that what comes out is always canonical.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import numpy as np

from nasplat.errors import InvalidArchitecture, NasplatError, expected_one_of
from nasplat.files import json_hash
from nasplat.space.arch import Arch, Value
from nasplat.space.choice import Choice, check_choices
from nasplat.space.notation import Notation
from nasplat.space.size import count

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from optuna.distributions import BaseDistribution
    from optuna.trial import BaseTrial
    from torch import nn


class Space:
    """Data plus a builder: what can be chosen, and the network that each choice gives.

    `build` makes a module with fresh weights from a canonical architecture, for inputs of `input_shape`
    (without the batch). `constants` are facts that change the networks but are not choices, such as the
    number of classes: they belong to the description and so to the hash. Spaces of one hash give the same
    networks. `notation` is how the field writes architectures down.
    """

    def __init__(
        self,
        name: str,
        choices: Sequence[Choice],
        *,
        build: Callable[[Arch], nn.Module] | None = None,
        input_shape: tuple[int, ...] | None = None,
        constants: Mapping[str, Any] | None = None,
        notation: Notation | None = None,
    ) -> None:
        check_choices(choices)
        self.name = name
        self.choices = tuple(choices)
        self.input_shape = None if input_shape is None else tuple(input_shape)
        self.constants = dict(constants or {})
        self.notation = notation or Notation()
        self._build = build

    def __repr__(self) -> str:
        size = self.size if self.size < 10**6 else f"about 10^{len(str(self.size)) - 1}"  # may exceed a float
        return f"{type(self).__name__}({self.name!r}, {len(self.choices)} choices, {size} architectures)"

    @cached_property
    def size(self) -> int:
        """The exact number of architectures."""
        return count(self.choices)

    @property
    def description(self) -> dict[str, Any]:
        """The space as plain JSON: name, choices, and the input shape and constants where there are any.

        A subclass adds to it whatever else changes its networks.
        """
        described: dict[str, Any] = {"name": self.name, "choices": [c.describe() for c in self.choices]}
        if self.input_shape is not None:
            described["input_shape"] = list(self.input_shape)
        return described | ({"constants": self.constants} if self.constants else {})

    @cached_property
    def hash(self) -> str:
        """The SHA-256 of the description; NasplatError where the description is not JSON."""
        try:
            return json_hash(self.description)
        except (TypeError, ValueError) as error:
            raise NasplatError(f"the description of space {self.name!r} is not JSON: {error}") from error

    def arch(self, values: Mapping[str, Any]) -> Arch:
        """The canonical architecture of given values; values of inactive choices are dropped.

        InvalidArchitecture names the choice that is unknown, missing or illegal, and what is legal.
        """
        self._check_names(values)

        def given(choice: Choice) -> Value:
            if choice.name not in values:
                raise InvalidArchitecture(f"{choice.name} is missing: {choice.advice}")
            return choice.values[choice.index(values[choice.name])]

        return self._walk(given)

    def validate(self, arch: Mapping[str, Any]) -> None:
        """Raise InvalidArchitecture unless this is a canonical architecture of the space."""
        extra = arch.keys() - self.arch(arch).keys()
        if extra:
            choice = next(c for c in self.choices if c.name in extra)
            raise InvalidArchitecture(f"{choice.name} must be absent: it matters only when {_spell(choice)}")

    def restrict(self, values: Mapping[str, Sequence[Value]]) -> Self:
        """The same space with fewer values for the named choices; all else stays, the class and conditions too.

        Its architectures are architectures of this space, with the same keys: those that have one of the given
        values wherever a named choice is active. A choice whose condition can no longer be met is never active.
        InvalidArchitecture for a name or a value that the space does not have.
        """
        self._check_names(values)
        space = copy.copy(self)
        for name in [n for n in vars(self) if isinstance(getattr(type(self), n, None), cached_property)]:
            del vars(space)[name]  # what was derived from the choices
        space.choices = tuple(c.only(values[c.name]) if c.name in values else c for c in self.choices)
        return space

    def extended(self, choices: Sequence[Choice]) -> Self:
        """The same space with further choices at its end, such as the expert of a mixture."""
        space = self.restrict({})
        space.choices = (*self.choices, *choices)
        check_choices(space.choices)
        return space

    @property
    def has_networks(self) -> bool:
        """Whether `build` makes networks; the architectures of a published table may be rows only."""
        return self._build is not None

    def check(self) -> None:
        """Raise NasplatError for what can be told to be wrong before anything is built."""

    def build(self, arch: Mapping[str, Value], seed: int = 0) -> nn.Module:
        """An ordinary module with fresh weights drawn from the seed, after `validate`; no other draw is moved."""
        import torch  # here: what only reads a study starts without it

        if self._build is None:
            raise NasplatError(f"space {self.name!r} has no builder: give Space(..., build=function)")
        self.validate(arch)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return self._build(self.arch(arch))

    def sample(self, rng: np.random.Generator) -> Arch:
        """A random architecture: each active choice takes one of its values, all alike.

        Where conditions make some values lead to more architectures than others, this is not uniform over
        architectures; it is what Optuna's random sampler draws from the same space, but for subsets: those are
        drawn item by item, so that not all come equally often.
        """
        return self._walk(lambda choice: _pick(choice.values, rng))

    def mutate(self, arch: Arch, rng: np.random.Generator) -> Arch:
        """One active choice changes to any other value; newly active choices are drawn at random."""
        changeable = [c for c in self.choices if c.name in arch and len(c.values) > 1]
        if not changeable:
            raise NasplatError(f"space {self.name!r} has a single architecture: nothing can change")
        changed = changeable[int(rng.integers(len(changeable)))]
        others = [v for v in changed.values if v != arch[changed.name]]

        def value(choice: Choice) -> Value:
            if choice is changed:
                return _pick(others, rng)
            return arch[choice.name] if choice.name in arch else _pick(choice.values, rng)

        return self._walk(value)

    def cross(self, a: Arch, b: Arch, rng: np.random.Generator) -> Arch:
        """Each active choice comes from one parent at random; what no parent has is drawn at random."""

        def value(choice: Choice) -> Value:
            inherited = [parent[choice.name] for parent in (a, b) if choice.name in parent]
            return _pick(inherited or choice.values, rng)

        return self._walk(value)

    def neighbours(self, arch: Arch) -> Iterator[Arch]:
        """All architectures one change away, lazily, each once, never itself; a symmetric relation.

        One active choice moves to an adjacent value (ordinal, subset, positions) or any other (categorical);
        choices that this makes active take every value, choices that it makes inactive disappear.
        """
        for changed in self.choices:
            if changed.name in arch:
                yield from self._expand(_near(arch, changed))

    def enumerate(self) -> Iterator[Arch]:
        """All architectures, lazily, each once, in the order of the choices and their values."""
        return self._expand(lambda choice: choice.values)

    def smallest(self) -> Arch:
        """Every ordered choice at its first value, every other choice at its first."""
        return self._walk(lambda choice: choice.values[0])

    def largest(self) -> Arch:
        """Every ordered choice at its last value, every other choice at its first."""
        return self._walk(lambda choice: choice.largest)

    def distributions(self) -> dict[str, BaseDistribution]:
        """The Optuna distributions of every choice, active or not, in order; most choices have one, of their name."""
        return {name: drawn for choice in self.choices for name, drawn in choice.distributions.items()}

    def suggest(self, trial: BaseTrial) -> Arch:
        """Draw every choice from an Optuna trial in the fixed order, then drop what is inactive.

        All trials so have the same parameters, which crossover and multivariate samplers need.
        """
        from optuna.distributions import IntDistribution

        params: dict[str, Any] = {}
        for name, drawn in self.distributions().items():
            if isinstance(drawn, IntDistribution):
                params[name] = trial.suggest_int(name, drawn.low, drawn.high, step=drawn.step)
            else:
                params[name] = trial.suggest_categorical(name, drawn.choices)  # type: ignore[attr-defined]
        return self.from_params(params)

    def params(self, arch: Mapping[str, Value]) -> dict[str, Any]:
        """The flat Optuna parameters of an architecture; inactive choices at their first value."""
        given = ((c, arch[c.name] if c.name in arch else c.values[0]) for c in self.choices)
        return {name: param for choice, value in given for name, param in choice.to_params(value).items()}

    def from_params(self, params: Mapping[str, Any]) -> Arch:
        """The architecture of flat Optuna parameters; InvalidArchitecture as for `arch`.

        Every draw makes an architecture, and `params` of that architecture make it again.
        """
        known = {name: choice for choice in self.choices for name in choice.param_names}
        for name in params:
            if name not in known:
                raise InvalidArchitecture(
                    f"{self.name} has no choice {name!r}: {expected_one_of(name, known)}"
                )
        whole = [c for c in self.choices if all(name in params for name in c.param_names)]
        return self.arch({choice.name: choice.from_params(params) for choice in whole})

    def encode(self, arch: Mapping[str, Value]) -> NDArray[np.float32]:
        """A vector of fixed length (len(encoding_names),), different for different architectures.

        An ordered choice gives (i + 1) / n, a subset or positions a 0 or 1 for each item or slot, any other a
        one-hot block; an inactive choice is zero.
        """
        return np.array([x for choice in self.choices for x in choice.encode(arch)], dtype=np.float32)

    @cached_property
    def encoding_names(self) -> tuple[str, ...]:
        """The names of the entries of `encode`, such as `depth` and `op='conv'`."""
        return tuple(name for choice in self.choices for name in choice.encoding_names)

    def _check_names(self, given: Iterable[str]) -> None:
        names = [choice.name for choice in self.choices]
        for name in given:
            if name not in names:
                raise InvalidArchitecture(
                    f"{self.name} has no choice {name!r}: {expected_one_of(name, names)}"
                )

    def _walk(self, value: Callable[[Choice], Value]) -> Arch:
        values: dict[str, Value] = {}
        for choice in self.choices:
            if choice.active(values):
                values[choice.name] = value(choice)
        return Arch(values)

    def _expand(self, options: Callable[[Choice], Sequence[Value]]) -> Iterator[Arch]:
        def grow(i: int, values: dict[str, Value]) -> Iterator[Arch]:
            while i < len(self.choices) and not self.choices[i].active(values):
                i += 1
            if i == len(self.choices):
                yield Arch(values)
                return
            for value in options(self.choices[i]):
                yield from grow(i + 1, {**values, self.choices[i].name: value})

        return grow(0, {})


def _near(arch: Arch, changed: Choice) -> Callable[[Choice], Sequence[Value]]:
    def options(choice: Choice) -> Sequence[Value]:
        if choice is changed:
            return choice.adjacent(arch[choice.name])
        return (arch[choice.name],) if choice.name in arch else choice.values

    return options


def _pick(values: Sequence[Value], rng: np.random.Generator) -> Value:
    return values[int(rng.integers(len(values)))]


def _spell(choice: Choice) -> str:
    return " and ".join(f"{name} is one of {list(values)}" for name, values in choice.when)


SpaceFactory: TypeAlias = Callable[..., Space]
