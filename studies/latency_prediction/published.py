"""The published latencies that the study predicts, as samples and one column of milliseconds for each device."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import nasplat
from nasplat.data.raw import data_root
from nasplat.prediction import Sample, describe
from nasplat.space import Arch
from nasplat.table import open_table

Floats = NDArray[np.float64]

NO_CODE = np.zeros(0, np.float32)
"""Predictors of latency read the choices of an architecture, not its encoding."""

SERIES = {"1080ti": "1080ti", "2080ti": "2080ti", "titanx": "titan", "titanxp": "titan", "titan_xp": "titan"}
SERIES |= {"v100": "v100", "gold": "gold", "silver": "silver", "pixel2": "pixel", "pixel3": "pixel"}
SERIES |= {"samsung": "samsung", "essential": "essential", "eyeriss": "eyeriss", "fpga": "fpga"}
"""The family of a device, by the beginning of its name: one product line, at all batch sizes."""

KINDS = {"1080ti": "gpu", "2080ti": "gpu", "titan": "gpu", "v100": "gpu", "gold": "cpu", "silver": "cpu"}
KINDS |= {"pixel": "phone", "samsung": "phone", "essential": "phone", "eyeriss": "eyeriss", "fpga": "fpga"}
"""The kind of a family."""


SETTING = re.compile(
    r"(1080ti|2080ti|titanx|titanxp)_\d+|gold_6226|gold_6240|silver_4114|silver_4210r"
    r"|pixel2|pixel3|samsung_a50|samsung_s7|essential_ph_1|eyeriss|fpga"
)


@dataclass(frozen=True, slots=True, eq=False)
class Published:
    """samples (n,), latencies in ms (n,) by device, and multiply-adds (n,) where they are known.

    learn: how many networks of a random order may be learned from; the next `judge` of them are for the test.
    """

    name: str
    samples: Sequence[Sample]
    latencies: Mapping[str, Floats]
    macs: Floats | None
    learn: int
    judge: int


def nb201() -> Published:
    """The 15,284 networks with a path from input to output, on the 23 settings of HELP (arXiv:2106.08630)."""
    table, space = open_table("nb201"), nasplat.load("spaces", "nasbench201")()
    samples = describe(space, [space.arch(space.notation.read(key)) for key in table.keys])
    alive = np.array([bool(sample.graph and sample.graph.edges) for sample in samples])
    latencies = {name: table.numbers(name)[alive] for name in _settings(table.frame)}
    kept = [sample for sample, lives in zip(samples, alive, strict=True) if lives]
    return Published("nb201", kept, latencies, table.numbers("macs")[alive], 12_000, 3_284)


def fbnet() -> Published:
    """5,000 chains of 22 blocks, on 23 settings of HELP."""
    table, space = open_table("fbnet"), nasplat.load("spaces", "fbnet")()
    samples = [Sample(space.arch(space.notation.read(key)), NO_CODE) for key in table.keys]
    latencies = {name: table.numbers(name) for name in _settings(table.frame)}
    return Published("fbnet", samples, latencies, None, 900, 2_000)


def ofa() -> Published:
    """5,000 subnets of the Once-for-All MobileNetV3, on 9 settings of HELP."""
    table = open_table("ofa")
    samples = [Sample(_ofa_arch(*key.split()), NO_CODE) for key in table.keys]
    latencies = {name: table.numbers(name) for name in table.facts if re.fullmatch(r".*_\d+", name)}
    return Published("ofa", samples, latencies, None, 900, 2_000)


def hat() -> Published:
    """2,000 transformers for each of 6 tasks and devices of HAT (arXiv:2005.14187): encoder and decoder together.

    No two tasks have measured the same networks, so a device has NaN for those of others.
    """
    frame = pd.read_csv(_root() / "hat" / "hat_latency_ms.csv.gz")
    choices = [name for name in frame.columns[1:] if not name.startswith("latency")]
    samples = [Sample(Arch(row), NO_CODE) for row in frame[choices].to_dict("records")]
    whole = (frame["latency_mean_encoder"] + frame["latency_mean_decoder"]).to_numpy()
    names = list(dict.fromkeys(frame["set"]))
    return Published(
        "hat", samples, {n: np.where(frame["set"] == n, whole, np.nan) for n in names}, None, 900, 1_100
    )


PUBLISHED: Mapping[str, Callable[[], Published]] = {"hat": hat, "ofa": ofa, "fbnet": fbnet, "nb201": nb201}


@cache
def published(name: str) -> Published:
    """One of them, read once in a process."""
    return PUBLISHED[name]()


def family(device: str) -> str:
    """The family of a device; a set of HAT belongs to its device, whatever the task."""
    if "_gpu_" in device or "_cpu_" in device:
        return device.split("_", 1)[1]
    return next(SERIES[start] for start in sorted(SERIES, key=len, reverse=True) if device.startswith(start))


def kin(device: str, devices: Sequence[str], scope: str) -> list[str]:
    """The devices that are left out with one: itself, its family, or all of its kind."""
    if scope == "itself":
        return [device]
    of = family if scope == "family" else lambda name: KINDS[family(name)]
    return [other for other in devices if of(other) == of(device)]


def split(data: Published, device: str, seed: int) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """Numbers of the networks that may be learned from, in random order, and of those for the test."""
    known = np.flatnonzero(np.isfinite(data.latencies[device]))
    order = np.random.default_rng(seed).permutation(known)
    return order[: data.learn], order[data.learn :][: data.judge]


def _settings(frame: pd.DataFrame) -> list[str]:
    """The columns of HELP's devices; nb201 has those of other papers beside them."""
    return [name for name in frame.columns if SETTING.fullmatch(name)]


def _ofa_arch(kernels: str, expansions: str, depths: str, side: str) -> Arch:
    """Blocks beyond the depth of their stage are not there."""
    values: dict[str, Any] = {"side": int(side)}
    wide = list(zip(kernels.split("-"), expansions.split("-"), strict=True))
    for stage, depth in enumerate(map(int, depths.split("-"))):
        values[f"depth{stage}"] = depth
        for block in range(depth):
            kernel, expansion = wide[4 * stage + block]
            values |= {f"kernel{stage}{block}": int(kernel), f"expansion{stage}{block}": int(expansion)}
    return Arch(values)


def _root() -> Any:
    root = data_root()
    if root is None:
        raise SystemExit("set NASPLAT_DATA to the folder that holds hat/")
    return root
