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
_SHOWN = (*_OURS, "metrics", "latency")
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
    inputs += "" if network["input_type"] == "float32" else f" {network['input_type']}"
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
    yield from _facts({key: value for key, value in card.items() if key not in _SHOWN})
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
    if isinstance(latency, Mapping):
        number = {"value": latency.get("median_ms"), "unit": "ms", "origin": _measured(latency)}
        yield _row("latency, median", number)


def _row(name: str, number: Mapping[str, Any]) -> str:
    cells = [name, *(_plain(number.get(key, "")) for key in ("value", "unit", "origin"))]
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _measured(latency: Mapping[str, Any]) -> str:
    """Where a latency was measured, and how far to trust it."""
    device = latency.get("device", "device unknown")
    name = device.get("name", device) if isinstance(device, Mapping) else device
    spread = latency.get("iqr_ms")
    quartiles = "" if spread is None else f", inter-quartile range {_plain(spread)} ms"
    return f"{_plain(name)}{quartiles}{', noisy' if latency.get('noisy') else ''}"


def _facts(facts: Mapping[str, Any]) -> Iterator[str]:
    for name, value in facts.items():
        if value is not None:
            yield f"- {name}: {_plain(value)}"


def _plain(value: Any) -> str:
    """A JSON value in words; of a mapping the plain entries, of which the card has the rest."""
    if isinstance(value, Mapping):
        plain = {key: item for key, item in value.items() if not isinstance(item, Mapping | list)}
        return ", ".join(f"{key} {_plain(item)}" for key, item in (plain or value).items())
    if isinstance(value, str):
        return value
    return f"{value:.6g}" if isinstance(value, float) else json.dumps(value, ensure_ascii=False)


def _shape(shape: list[int]) -> str:
    return f"({', '.join(['n', *map(str, shape)])})"
