"""Text: windows and vocabularies against plain strings, bits against a count of the letters."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import sklearn.datasets
import torch
from hypothesis import given
from hypothesis import strategies as st

from nasplat.data import Vocabulary, load_data
from nasplat.errors import DataError

POEM = "the owl and the pussycat went to sea in a beautiful pea-green boat. " * 6


@pytest.fixture
def poem(tmp_path: Path) -> Path:
    path = tmp_path / "poem.txt"
    path.write_text(POEM, encoding="utf-8")
    return path


def vocabulary(data: Any) -> Vocabulary:
    return Vocabulary(data.origin["characters"])


def test_windows_are_pieces_of_the_text_and_targets_the_same_pieces_one_character_later(poem: Path) -> None:
    data = load_data("text", path=poem, context=10, stride=3)
    words, end = vocabulary(data), round(len(POEM) * 0.8)
    for i, (inputs, targets) in enumerate(zip(data.train.inputs, data.train.targets, strict=True)):
        assert words.decode(inputs) == POEM[3 * i : 3 * i + 10]
        assert words.decode(targets) == POEM[3 * i + 1 : 3 * i + 11]
    assert len(data.train) == (end - 11) // 3 + 1
    assert "".join(map(words.decode, data.validation.inputs)) == POEM[end : end + 40]
    assert (data.input_shape, data.train.inputs.dtype) == ((10,), torch.int64)


def test_the_parts_follow_each_other_and_share_no_character(poem: Path) -> None:
    data = load_data("text", path=poem, context=4, stride=4, validation=0.25, test=0.25)
    words = vocabulary(data)
    parts = ["".join(map(words.decode, s.inputs)) for s in (data.train, data.validation, data.test)]
    n = len(POEM) // 4
    starts = [0, 2 * n, 3 * n]
    assert parts == [POEM[start : start + len(part)] for start, part in zip(starts, parts, strict=True)]
    assert [2 * n - len(parts[0]), n - len(parts[1]), n - len(parts[2])] == [4, 2, 2]


def test_characters_that_the_training_part_does_not_have_are_one_unknown_token(tmp_path: Path) -> None:
    (tmp_path / "new.txt").write_text("ab" * 40 + "aXbY" * 3 + "a€" * 6, encoding="utf-8")
    data = load_data("text", path=tmp_path / "new.txt", context=3, validation=0.115, test=0.115)
    assert (data.classes, data.origin["characters"]) == (3, "ab")
    assert data.origin["unknown"] == {"train": 0, "validation": 6, "test": 6}
    assert vocabulary(data).decode(data.validation.targets[0]) == "\ufffdb\ufffd"


@given(st.text(min_size=1), st.text())
def test_a_vocabulary_gives_back_the_characters_that_it_knows(known: str, given: str) -> None:
    words = Vocabulary("".join(sorted(set(known))))
    tokens = words.encode(given)
    assert words.decode(tokens) == "".join(c if c in known else "\ufffd" for c in given)
    assert len(words) == len(set(known)) + 1
    assert not len(given) or 0 <= int(tokens.min()) <= int(tokens.max()) < len(words)


def test_bytes_are_their_own_tokens_whatever_the_file(tmp_path: Path) -> None:
    content = bytes(range(256)) * 3
    (tmp_path / "any.bin").write_bytes(content)
    data = load_data("text", path="any.bin", base=tmp_path, level="bytes", context=32, stride=32)
    assert data.train.inputs.flatten().tolist() == list(content[: 19 * 32])
    assert (data.classes, data.task.metric, data.task.unit) == (256, "bits_per_byte", "bit")


def test_without_a_path_the_text_is_that_of_scikit_learn() -> None:
    data = load_data("text", context=32)
    train = vocabulary(data).decode(data.train.inputs[::4].flatten())
    description = str(sklearn.datasets.load_breast_cancer().DESCR)
    assert train.startswith(description[:2000])
    assert "scikit-learn" in data.origin["text"]
    assert data.origin["sha256"] in str(data.identity)


def test_bits_per_character_of_a_model_of_letter_frequencies_are_their_entropy(poem: Path) -> None:
    data = load_data("text", path=poem, context=8)
    targets = data.validation.targets
    counts = Counter(targets.flatten().tolist())
    shares = torch.tensor([counts[token] / targets.numel() for token in range(data.classes or 0)])
    logits = shares.log().clamp(min=-50)[None, :, None].expand(len(targets), -1, 8)
    entropy = -sum(n / targets.numel() * math.log2(n / targets.numel()) for n in counts.values())
    assert data.task.score(logits, targets) == pytest.approx(entropy, rel=1e-5)
    assert float(data.task.loss(logits, targets)) == pytest.approx(entropy * math.log(2), rel=1e-5)
    assert (data.task.metric, data.task.direction) == ("bits_per_character", "minimize")


def test_equal_text_has_an_equal_identity_wherever_it_lies_and_other_text_another(poem: Path) -> None:
    (poem.parent / "deep").mkdir()
    moved = poem.parent / "deep" / poem.name
    moved.write_text(POEM, encoding="utf-8")
    first, again = (load_data("text", path=path, context=8).identity for path in (poem, moved))
    assert first == again
    moved.write_text(POEM.replace("owl", "cat"), encoding="utf-8")
    assert load_data("text", path=moved, context=8).identity != first


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"path": "absent.txt"}, "absent.txt cannot be read (No such file or directory); give the path"),
        ({"path": "."}, "cannot be read (Is a directory); give the path of a text file"),
        ({"path": "latin.txt"}, 'latin.txt is not UTF-8 at byte 3; convert it, or take level = "bytes"'),
        ({"path": "empty.txt"}, "the train part of the text has 0 tokens, but a window and the next token"),
        ({"path": "poem.txt", "context": 41}, "the validation part of the text has 41 tokens, but a window"),
        ({"path": "poem.txt", "context": 2.5}, "context = 2.5: expected a whole number of"),
        (
            {"path": "poem.txt", "validation": math.nan},
            "validation = nan and test = 0.1: expected shares above 0",
        ),
        ({"path": "poem.txt", "context": 0}, "context = 0: expected a whole number of characters from 1 up"),
        ({"path": "poem.txt", "stride": 0}, "stride = 0: expected a whole number of characters from 1 up"),
        ({"level": "character"}, "level = 'character' of a text is unknown; did you mean 'characters'"),
        ({"validation": 0.5, "test": 0.5}, "expected shares above 0 that leave some text to train"),
    ],
)
def test_a_text_that_makes_no_data_set_is_told_in_one_line(
    poem: Path, arguments: dict[str, Any], message: str
) -> None:
    (poem.parent / "latin.txt").write_bytes("caf\xe9 olé".encode("latin-1"))
    (poem.parent / "empty.txt").write_bytes(b"")
    with pytest.raises(DataError) as error:
        load_data("text", base=poem.parent, **arguments)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
