"""What cannot be traced, told in one plain line, and what torch would say beside it."""

from __future__ import annotations

import inspect
import io
import logging
import re
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from linecache import getline
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from nasplat.errors import NasplatError

TALKERS = ("torch._subclasses.fake_tensor", "torch.fx.experimental.symbolic_shapes", "torch.export")
"""Loggers of torch that repeat what an error says anyway."""

HERE = Path(__file__).parent
TRACERS = (HERE, HERE.parent / "measure", Path(torch.__file__).parent)
"""Folders whose lines are not those of a network."""


@contextmanager
def quiet() -> Iterator[None]:
    """Nothing but errors comes out of the block: no warnings, no logs, and not the graphs that torch.export prints."""
    loggers = [logging.getLogger(name) for name in TALKERS]
    before = [logger.disabled for logger in loggers]
    with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")  # what a network warns of, it warns of when it runs
        for logger in loggers:
            logger.disabled = True
        try:
            yield
        finally:
            for logger, was in zip(loggers, before, strict=True):
                logger.disabled = was


def checked(module: nn.Module, example: Any) -> list[Tensor]:
    """The inputs of a module as a list; NasplatError for what is no module, no input of one, or too many of them."""
    if not isinstance(module, nn.Module) or isinstance(module, torch.jit.ScriptModule):
        given = getattr(module, "__name__", type(module).__name__)
        raise NasplatError(f"{given} is not a torch.nn.Module in Python; give the network itself")
    lazy = next((name for name, tensor in module.named_parameters() if is_lazy(tensor)), None)
    if lazy is not None:
        raise NasplatError(f"{lazy} of {_name(module)} has no shape yet; call the module on an example first")
    many = isinstance(example, Sequence) and not isinstance(example, str)
    examples = list(example) if many else [example]
    for one in examples:
        if not isinstance(one, Tensor):
            raise NasplatError(
                f"an example is made of tensors, not of {type(one).__name__}; give a batch such as "
                "torch.zeros(1, 3, 32, 32), or a list of them for a module of several inputs"
            )
        if one.ndim and not len(one):
            raise NasplatError(f"an example of shape {tuple(one.shape)} is empty; give at least one input")
    try:
        inspect.signature(module.forward).bind(*examples)
    except TypeError as error:
        raise NasplatError(
            f"{_name(module)} does not take {len(examples)} inputs: {error}; give one tensor for each"
        ) from None
    return examples


def check_runs(module: nn.Module, examples: Sequence[Tensor]) -> None:
    """NasplatError: an example that a module does not take."""
    try:
        with torch.no_grad():
            module(*examples)
    except Exception as error:
        shapes = ", ".join(f"{tuple(one.shape)}" for one in examples)
        raise NasplatError(
            f"{_name(module)} does not take an example of shape {shapes}: {_reason(error)}; give inputs that it takes"
        ) from error


def untraceable(module: nn.Module, symbolic: Exception, exported: Exception) -> NasplatError:
    """What neither torch.fx nor torch.export could do, and in which line of the network."""
    place = _line(exported) or _line(symbolic)
    at = f" at {place}" if place else ""
    if _is_own(symbolic) or _is_own(exported):
        own = symbolic if _is_own(symbolic) else exported
        return NasplatError(
            f"{_name(module)} was traced, but not understood{at} ({type(own).__name__}: {_reason(own)}); "
            "this is a mistake in nasplat, not in the network: please report it"
        )
    return NasplatError(
        f"{_name(module)} cannot be traced{at} (torch.fx: {_reason(symbolic)}; torch.export: {_reason(exported)}); "
        "write it without decisions by the values of tensors, or trace the parts around it"
    )


def _is_own(error: Exception) -> bool:
    """Whether it was raised by a line of these rooms, and is not a refusal."""
    frames = traceback.extract_tb(error.__traceback__)
    return not isinstance(error, NasplatError) and bool(frames) and HERE in Path(frames[-1].filename).parents


def _line(error: Exception) -> str:
    """The last line of code outside torch that an error went through, or that its message names."""
    frames = [(frame.filename, frame.lineno or 0) for frame in traceback.extract_tb(error.__traceback__)]
    told = re.findall(r'File "(.+)", line (\d+)', str(error))
    for file, number in [*((file, int(number)) for file, number in reversed(told)), *reversed(frames)]:
        if getline(file, number) and not any(folder in Path(file).parents for folder in TRACERS):
            return f"{Path(file).name}:{number}: `{getline(file, number).strip()}`"
    return ""


def _reason(error: Exception) -> str:
    first = str(error).strip().splitlines() or [type(error).__name__]
    return " ".join(first[0].split()).removesuffix(".")[:200]


def _name(module: nn.Module) -> str:
    return type(module).__name__
