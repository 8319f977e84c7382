"""Plans of masks in safetensors files, checked before they are trusted; no pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from nasplat.errors import NasplatError
from nasplat.files import content_hash, json_hash, write_atomic
from nasplat.prune.sparse.plan import MaskedTensor, MaskPlan, Packed

KEY = "nasplat masks 1"


def save_mask_plan(plan: MaskPlan, path: Path) -> str:
    """Write a plan whole or not at all; its content hash."""
    tensors = [asdict(tensor) for tensor in plan.tensors]
    about = {"asked": dict(plan.asked), "tensors": tensors, "bits": _hash(plan.packed)}
    return write_atomic(path, save(dict(plan.packed), {KEY: json.dumps(about)}))  # several keys have no order


def load_mask_plan(path: str | Path) -> MaskPlan:
    """Read a plan. NasplatError in one line where the file is missing, damaged or no plan of masks."""
    bits, metadata = _read(Path(path))
    if KEY not in metadata:
        raise NasplatError(f"{path} is no plan of masks: give a file that MaskPlan.save wrote")
    try:
        about = json.loads(metadata[KEY])
        tensors = tuple(_tensor(row) for row in about["tensors"])
        plan = MaskPlan(tensors, dict(about["asked"]), bits)
        whole = about["bits"] == _hash(bits)
    except (KeyError, TypeError, ValueError) as error:
        raise NasplatError(f"{path} is damaged ({error!r}): make the plan again") from error
    if not whole:
        raise NasplatError(f"{path} is damaged (its bits are not those of the plan): make the plan again")
    _check(plan, path)
    return plan


def _hash(bits: Mapping[str, Packed]) -> str:
    return json_hash({name: content_hash(one.tobytes()) for name, one in bits.items()})


def _tensor(row: Mapping[str, Any]) -> MaskedTensor:
    return MaskedTensor(str(row["name"]), tuple(map(int, row["shape"])), int(row["kept"]), str(row["reason"]))


def _read(path: Path) -> tuple[dict[str, Packed], dict[str, str]]:
    if not path.is_file():
        raise NasplatError(f"no file {path}: give a plan that MaskPlan.save wrote")
    try:
        with safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise NasplatError(f"{path} is damaged ({error}): make the plan again") from error


def _check(plan: MaskPlan, path: str | Path) -> None:
    """Raise NasplatError unless the bits are those of the tensors."""
    for tensor in plan.tensors:
        bits = plan.packed.get(tensor.name)
        if (tensor.size if bits is None else _count(bits, tensor.size)) != tensor.kept:
            raise NasplatError(f"{path} is damaged (the bits of {tensor.name}): make the plan again")
    strangers = plan.packed.keys() - {tensor.name for tensor in plan.tensors}
    if strangers:
        raise NasplatError(f"{path} is damaged (bits of unknown {min(strangers)}): make the plan again")


def _count(bits: Packed, size: int) -> int:
    """The number of ones; -1 where these are not the bits of so many weights."""
    fits = bits.dtype == np.uint8 and bits.shape == (-(-size // 8),)
    return int(np.unpackbits(bits, count=size).sum()) if fits else -1
