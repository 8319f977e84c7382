"""Text as tokens: any file, or the English that comes with scikit-learn, for models of the next character."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from nasplat.data.dataset import Dataset, Split, Task
from nasplat.errors import DataError, expected_one_of
from nasplat.files import content_hash

BUILT_IN = "descriptions of the data sets that scikit-learn ships (sklearn/datasets/descr/*.rst)"
Codes = NDArray[Any]  # (t,) code points, or bytes
UNITS = {"characters": "character", "bytes": "byte"}  # by level


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Characters as tokens: 1, 2, ... in the order of `characters` (sorted), 0 for every other character."""

    characters: str

    def __len__(self) -> int:
        return len(self.characters) + 1

    def encode(self, text: str) -> Tensor:
        """The tokens (t,) of a text, int64."""
        return _positions(_code_points(text), _code_points(self.characters))

    def decode(self, tokens: Tensor) -> str:
        """The text of tokens (t,); 0 gives the replacement character."""
        symbols = "\N{REPLACEMENT CHARACTER}" + self.characters
        return "".join(symbols[token] for token in tokens.tolist())


def _code_points(text: str) -> Codes:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def _positions(codes: Codes, known: Codes) -> Tensor:
    """For each code (t,) its place among the known ones (sorted), from 1; 0 where it is none of them."""
    place = np.searchsorted(known, codes).clip(max=len(known) - 1)
    return torch.from_numpy(np.where(known[place] == codes, place + 1, 0))


def text(
    *,
    path: str | Path | None = None,
    context: int = 64,
    level: str = "characters",
    stride: int | None = None,
    validation: float = 0.1,
    test: float = 0.1,
) -> Dataset:
    """Windows of a text, (n, context) tokens in int64; their targets are the same windows one token later.

    path: any text file; left out, the descriptions of data sets that scikit-learn ships, about 43,000 characters
    of English. level: "characters", those of the training part, while all others are one unknown token (`origin`
    has what a `Vocabulary` needs); or "bytes", 256 tokens, of any file. stride: from one training window to the
    next, a quarter of the context by default; the other windows do not overlap. validation, test: shares of the
    text, which is cut into a training, a validation and a test part, in this order.

    `classes` is the number of tokens. The task is bits per character or byte: the mean over all positions of
    -log2 p(next token), p the softmax of logits (n, classes, context).
    """
    stride = max(1, int(context // 4)) if stride is None else stride
    arguments = {"context": context, "level": level, "stride": stride, "validation": validation, "test": test}
    _check(arguments)
    content = _built_in() if path is None else _read(Path(path).expanduser())
    codes = np.frombuffer(content, np.uint8) if level == "bytes" else _code_points(_decoded(content, path))
    parts = _cut(codes, validation, test, context)
    tokens, classes, symbols = _tokens(parts, level)
    splits = {
        name: _windows(part, context, stride if name == "train" else context) for name, part in tokens.items()
    }
    origin = {
        "name": "text",
        "arguments": arguments,
        "sizes": {name: len(split) for name, split in splits.items()},
        "text": BUILT_IN if path is None else Path(path).name,
        "sha256": content_hash(content),
        **symbols,
    }
    train, held, last = (splits[name] for name in ("train", "validation", "test"))
    return Dataset("text", train, held, last, task=bits_per(UNITS[level]), classes=classes, origin=origin)


def bits_per(symbol: str) -> Task:
    """The task of a language model, "bits_per_character" or other: mean -log2 p of the next token, to minimise.

    Logits (n, tokens, t) against the tokens that follow, (n, t); the loss is the same in nats.
    """
    return Task(f"bits_per_{symbol}", "minimize", "bit", _nats, _bits)


def _nats(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs, targets)


def _bits(outputs: Tensor, targets: Tensor) -> float:
    return float(F.cross_entropy(outputs, targets, reduction="none").double().mean()) / math.log(2)


def _check(arguments: Mapping[str, Any]) -> None:
    level, validation, test = (arguments[name] for name in ("level", "validation", "test"))
    if level not in UNITS:
        raise DataError(f"level = {level!r} of a text is unknown; {expected_one_of(level, UNITS)}")
    for name in ("context", "stride"):
        if type(arguments[name]) is not int or arguments[name] < 1:
            raise DataError(f"{name} = {arguments[name]}: expected a whole number of {level} from 1 up")
    if not (validation > 0 and test > 0 and validation + test < 1):  # NaN is none of these
        raise DataError(
            f"validation = {validation} and test = {test}: expected shares above 0 that leave some text to train"
        )


def _built_in() -> bytes:
    """The descriptions one after the other, in the order of their names."""
    folder = files("sklearn.datasets.descr")
    pages = sorted((f for f in folder.iterdir() if f.name.endswith(".rst")), key=lambda f: f.name)
    return b"\n".join(page.read_bytes() for page in pages)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); give the path of a text file") from error


def _decoded(content: bytes, path: str | Path | None) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f'{path} is not UTF-8 at byte {error.start}; convert it, or take level = "bytes"'
        ) from error


def _cut(codes: Codes, validation: float, test: float, context: int) -> dict[str, Codes]:
    end = len(codes) - round(len(codes) * test)
    middle = end - round(len(codes) * validation)
    parts = {"train": codes[:middle], "validation": codes[middle:end], "test": codes[end:]}
    for name, part in parts.items():
        if len(part) <= context:
            raise DataError(
                f"the {name} part of the text has {len(part)} tokens, but a window and the next token take "
                f"{context + 1}: give a longer text, a smaller context or a larger share"
            )
    return parts


def _tokens(parts: Mapping[str, Codes], level: str) -> tuple[dict[str, Tensor], int, dict[str, Any]]:
    """Tokens (t,) of each part, the number of different ones, and what the origin says about them."""
    if level == "bytes":
        return {name: torch.from_numpy(part.astype(np.int64)) for name, part in parts.items()}, 256, {}
    known = np.unique(parts["train"])
    tokens = {name: _positions(part, known) for name, part in parts.items()}
    unknown = {name: int((t == 0).sum()) for name, t in tokens.items()}
    return tokens, len(known) + 1, {"characters": "".join(map(chr, known)), "unknown": unknown}


def _windows(tokens: Tensor, context: int, stride: int) -> Split:
    """Views of the tokens (t,): a window at every stride, and the same one a token later."""
    return Split(tokens[:-1].unfold(0, context, stride), tokens[1:].unfold(0, context, stride))
