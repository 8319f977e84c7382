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
from nasplat.metanet.edge_gated_kernels import Kernels, Past
from nasplat.metanet.edge_gated_torch import TorchKernels
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
        *((name, ctypes.c_void_p) for name in ("stack", "sources", "targets", "degrees")),
    ]


class _Forward(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("a", "e", "g", "out", "received", "ends", "stats")),
        ("counted", ctypes.c_long),
    ]


class _Backward(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("a", "e", "past", "received", "g")),
        *((name, ctypes.c_void_p) for name in ("ge", "ga", "ends", "stats", "grads", "sums")),
        ("layers", ctypes.c_long),
    ]


STATS, GRADS = 2 * 6, 2 * 6
"""Vectors that a node has while messages are received, and while gradients return."""


class FusedKernels:
    """See Kernels: a compiled library, for float32 and float64 on a CPU; torch's number of threads, by channels."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self.library = library

    def forward(
        self, layout: Layout, factors: Tensor, edges: Tensor, out: Tensor, train: bool
    ) -> tuple[Tensor, Tensor]:
        """See Kernels."""
        factors, received = factors.contiguous(), torch.empty_like(factors)
        ends, stats = _slots(factors, 3), _slots(factors, STATS)
        data = _Forward(*map(_at, (factors, edges, None, out, received, ends, stats)), train)
        self._run("forward", layout, edges, data)
        return received, stats

    def backward(
        self, layout: Layout, past: Past, stats: Tensor, grads: Tensor, g: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """See Kernels."""
        factors, grads = past.factors.contiguous(), grads.contiguous()
        ge, ga = torch.empty_like(past.edges) if g is None else g, torch.empty_like(factors)
        between = torch.stack(past.between) if past.between else None
        rows = [_slots(factors, slots) for slots in (3 + 2 * len(past.between), GRADS, 3)]
        given = (factors, past.edges, between, grads, g, ge, ga, rows[0], stats, *rows[1:])
        self._run("backward", layout, past.edges, _Backward(*map(_at, given), len(past.between)))
        return ga, ge

    def _run(self, name: str, layout: Layout, edges: Tensor, data: ctypes.Structure) -> None:
        """Call a function of the library, its channels split among threads."""
        batch, count, width = edges.shape
        stacks, sources, targets = _tables(layout)
        shape = _Shape(
            *(batch, layout.nodes, count, width, len(stacks), ctypes.addressof(stacks)),
            *map(_at, (sources, targets, layout.degrees)),
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
    if (
        compiler is None or not SOURCE.is_file() or ctypes.sizeof(ctypes.c_long) != 8
    ):  # node numbers have 64 bits
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
                subprocess.run(
                    [compiler, *FLAGS, str(SOURCE), "-o", str(made)], capture_output=True, check=True
                )
                os.replace(made, target)
        return ctypes.CDLL(str(target))
    except (OSError, RuntimeError, subprocess.CalledProcessError):  # RuntimeError: no home folder
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


def _slots(factors: Tensor, slots: int) -> Tensor:
    """Room for so many vectors for each node and tile of factors (m, nodes, 4 H)."""
    m, nodes, width = factors.shape
    lanes = VECTOR_BYTES // factors.element_size()
    return factors.new_empty(m, -(-width // 4 // lanes), nodes, slots, lanes)


def _at(tensor: Tensor | None) -> int | None:
    """Where a contiguous tensor lies in memory."""
    return None if tensor is None else tensor.data_ptr()
