"""The card of a bundle: what was exported, how good it is, where it comes from and how to load it."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Mapping
from importlib import metadata
from typing import Any

from nasplat.errors import ExportError
from nasplat.export.formats import FORMATS

KIND = "nasplat bundle 1"
_OURS = ("kind", "export")
_PACKAGES = {"state": ("safetensors",), "pt2": (), "onnx": ("onnx", "onnxscript", "onnxruntime")}


def check_card(card: Mapping[str, Any]) -> dict[str, Any]:
    """The caller's part of a card as plain JSON values; ExportError when it is no JSON or uses a name of ours."""
    taken = [name for name in _OURS if name in card]
    if taken:
        raise ExportError(f"the card must not have the key {taken[0]!r}: it is the bundle's own")
    try:
        plain = json.loads(json.dumps(dict(card), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ExportError(f"the card must be plain JSON: {error}") from error
    return dict(plain)


def versions(formats: tuple[str, ...]) -> dict[str, str]:
    """Versions of what wrote a bundle."""
    packages = ["torch", "nasplat", *(package for name in formats for package in _PACKAGES[name])]
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in packages}


def readme(card: Mapping[str, Any]) -> str:
    """The card as a page to read: `README.md` of the bundle."""
    return "\n".join(_lines(card)) + "\n"


def _lines(card: Mapping[str, Any]) -> Iterator[str]:
    export = card["export"]
    network, validation = export["network"], export["validation"]
    inputs, outputs = (_shape(network[name]) for name in ("input_shape", "output_shape"))
    yield "# An exported network"
    yield ""
    size = f"{network['params']:,} parameters, {network['macs']:,} MACs for one input"
    yield f"Inputs {inputs}, outputs {outputs}; {size}."
    yield ""
    yield "## Numbers"
    yield ""
    yield from _numbers(card)
    yield ""
    yield "## Files"
    yield ""
    yield f"Each format was loaded again in a fresh process without nasplat and run on {validation['samples']:,}"
    yield "validation inputs: drift is the largest absolute difference of an output."
    yield ""
    yield f"| format | files | drift | {validation['metric']} |"
    yield "|---|---|---|---|"
    for name, result in export["formats"].items():
        yield f"| {name} | {', '.join(result['files'])} | {result['drift']:.2g} | {result['value']:.6g} |"
    for name in export["formats"]:
        yield ""
        yield f"### Load {name}"
        yield ""
        yield FORMATS[name].usage.format(inputs=inputs)
    yield ""
    yield "## Origin"
    yield ""
    yield from _facts({"origin": card.get("origin"), "architecture": card.get("architecture")})
    yield from _facts({"versions": export["versions"]})


def _numbers(card: Mapping[str, Any]) -> Iterator[str]:
    validation = card["export"]["validation"]
    yield "| what | value | unit | origin |"
    yield "|---|---|---|---|"
    yield _row(
        f"{validation['metric']} at export",
        validation | {"origin": f"{validation['samples']:,} validation inputs"},
    )
    for name, number in (card.get("metrics") or {}).items():
        yield _row(name, number if isinstance(number, Mapping) else {"value": number})
    latency = card.get("latency")
    if isinstance(latency, Mapping) and "median_ms" in latency:
        spread = f", inter-quartile range {_plain(latency['iqr_ms'])} ms" if "iqr_ms" in latency else ""
        yield _row(
            "latency, median",
            {"value": latency["median_ms"], "unit": "ms", "origin": f"{_device(latency)}{spread}"},
        )
    elif latency:
        yield _row("latency", {"value": latency})


def _row(name: str, number: Mapping[str, Any]) -> str:
    cells = [name, *(_plain(number.get(key, "")) for key in ("value", "unit", "origin"))]
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _device(latency: Mapping[str, Any]) -> str:
    device = latency.get("device", "device unknown")
    return str(device.get("name", _plain(device))) if isinstance(device, Mapping) else str(device)


def _facts(facts: Mapping[str, Any]) -> Iterator[str]:
    for name, value in facts.items():
        if isinstance(value, Mapping):
            yield f"- {name}: " + ", ".join(f"{key} {_plain(item)}" for key, item in value.items())
        elif value is not None:
            yield f"- {name}: {_plain(value)}"


def _plain(value: Any) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.6g}" if isinstance(value, float) else json.dumps(value, ensure_ascii=False)


def _shape(shape: list[int]) -> str:
    return f"({', '.join(['n', *map(str, shape)])})"
