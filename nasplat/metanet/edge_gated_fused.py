"""The pass over edges as one loop of compiled code, for CPUs: every edge is read once and written once.

The source lies beside this file and is compiled at its first use, in half a second, by the C++ compiler of the machine
(`c++`, or what CXX says); the result is kept in the user's cache folder. Without a compiler, torch operations do the
same work.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from nasplat.files import content_hash
from nasplat.metanet.edge_gated_kernels import (
    Factors,
    Gradients,
    Kernels,
    Past,
    Received,
    TorchKernels,
    empty_stats,
)
from nasplat.metanet.layout import Layout

SOURCE = Path(__file__).with_name("edge_gated.cpp")
FLAGS = ("-O3", "-march=native", "-ffp-contract=off", "-fno-math-errno", "-shared", "-fPIC", "-w")
NAMES = {torch.float32: "float32", torch.float64: "float64"}
VECTOR_BYTES = 64


class _Stack(ctypes.Structure):
    _fields_ = [(name, ctypes.c_long) for name in ("blocks", "outs", "ins", "edge", "source", "target")]


class _Shape(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_long) for name in ("batch", "nodes", "edges", "width", "stacks")),
        *((name, ctypes.c_void_p) for name in ("stack", "sources", "targets")),
    ]


class _Forward(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in ("a1", "a3", "a4", "e", "out", "stats", "ties")]


class _Backward(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("a1", "a3", "a4", "e", "stats", "grads", "past3", "past4", "g")),
        ("past", ctypes.c_long),
        *((name, ctypes.c_void_p) for name in ("ge", "g1", "g3", "g4")),
    ]


class FusedKernels:
    """Kernels of a compiled library, for float32 and float64 on a CPU; torch's number of threads, by channels."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self.library = library

    def forward(
        self, layout: Layout, factors: Factors, edges: Tensor, out: Tensor | None, ties: bool
    ) -> Received:
        """See Kernels."""
        received = empty_stats(layout, factors.a1, ties)
        self._run("forward", layout, edges, _Forward(*map(_at, (*factors.all, edges, out, received.stats, received.ties))))
        return received

    def backward(self, layout: Layout, past: Past, received: Received, grads: Tensor, g: Tensor | None) -> Gradients:
        """See Kernels."""
        ge = torch.empty_like(past.edges) if g is None else g
        sums = Factors(*(torch.zeros_like(a) for a in past.factors.all))
        past3, past4 = (
            torch.stack(list(parts)) if past.between else None
            for parts in ([f.a3 for f in past.between], [f.a4 for f in past.between])
        )
        given = (*past.factors.all, past.edges, received.stats, grads, past3, past4, g)
        data = _Backward(*map(_at, given), len(past.between), *map(_at, (ge, *sums.all)))
        self._run("backward", layout, past.edges, data)
        return Gradients(ge, sums)

    def _run(self, name: str, layout: Layout, edges: Tensor, data: ctypes.Structure) -> None:
        """Call a function of the library, its channels split among threads."""
        batch, count, width = edges.shape
        stacks, sources, targets = _tables(layout)
        shape = _Shape(
            batch, layout.nodes, count, width, len(stacks), ctypes.addressof(stacks), _at(sources), _at(targets)
        )
        call = getattr(self.library, f"{name}_{NAMES[edges.dtype]}")
        lanes = VECTOR_BYTES // edges.element_size()
        tiles = -(-width // lanes)
        threads = min(torch.get_num_threads(), tiles)
        bounds = [min(width, lanes * (tiles * t // threads)) for t in range(threads + 1)]

        def part(first: int, last: int) -> None:
            call(ctypes.byref(shape), ctypes.byref(data), ctypes.c_long(first), ctypes.c_long(last))

        if threads == 1:
            part(0, width)
        else:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(part, bounds[:-1], bounds[1:]))


def kernels_for(edges: Tensor, factors: Tensor) -> Kernels:
    """The fastest kernels that can work on such edges."""
    fit = edges.device.type == "cpu" and edges.dtype in NAMES and edges.dtype == factors.dtype
    library = compiled() if fit else None
    return TorchKernels() if library is None else FusedKernels(library)


@lru_cache(maxsize=1)
def compiled() -> ctypes.CDLL | None:
    """The library, compiled if this machine has not done so before; None without a compiler that can."""
    compiler = shutil.which(os.environ.get("CXX", "c++"))
    if compiler is None or not SOURCE.is_file():
        return None
    try:
        # what a compiler defines says which machine and compiler the code is for
        known = subprocess.run(
            [compiler, *FLAGS, "-dM", "-E", "-x", "c++", os.devnull], capture_output=True, check=True
        ).stdout
        name = content_hash(known + SOURCE.read_bytes() + " ".join(FLAGS).encode())[:16]
        folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "nasplat"
        target = folder / f"edge_gated_{name}.so"
        if not target.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                made = Path(scratch) / target.name
                subprocess.run([compiler, *FLAGS, str(SOURCE), "-o", str(made)], capture_output=True, check=True)
                os.replace(made, target)
        return ctypes.CDLL(str(target))
    except (OSError, subprocess.CalledProcessError):
        return None


@lru_cache(maxsize=256)
def _tables(layout: Layout) -> tuple[ctypes.Array[_Stack], Tensor, Tensor]:
    """Stacks as the library reads them, and all their sources and targets in a row."""
    rows, source, target = [], 0, 0
    for stack in layout.stacks:
        rows.append(_Stack(*stack.shape, stack.start, source, target))
        source, target = source + stack.sources.numel(), target + stack.targets.numel()
    sources, targets = (
        torch.cat([part.flatten() for part in parts])
        for parts in ([s.sources for s in layout.stacks], [s.targets for s in layout.stacks])
    )
    return (_Stack * len(rows))(*rows), sources, targets


def _at(tensor: Tensor | None) -> int | None:
    """Where a contiguous tensor lies in memory."""
    return None if tensor is None else tensor.data_ptr()
