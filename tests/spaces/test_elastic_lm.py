"""Language models: published sizes, causality, learning, and a study of text from end to end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nasplat import load_bundle, open_study
from nasplat.conformance import check_space
from nasplat.data import Dataset, evaluate, load_data
from nasplat.elastic import ElasticSpace, extract
from nasplat.elastic.weights.soft import Masks, SoftArch
from nasplat.errors import NasplatError
from nasplat.measure import Repeats, count_params, measure_latency
from nasplat.metric import Candidate, Workbench, make_metric
from nasplat.plugins import load
from nasplat.scoring import score
from nasplat.supernet import METHODS, Settings, train

elastic_lm = load("spaces", "elastic_lm")
TINY = {"depth": [1, 2], "width": [16, 32], "heads": [1, 2], "ffn": [16, 48]}
SPACE: ElasticSpace = elastic_lm(input_shape=(12,), classes=7, **TINY)
NET = SPACE.supernet().eval()


def tokens(seed: int = 0, n: int = 2, t: int = 12) -> torch.Tensor:
    return torch.randint(7, (n, t), generator=torch.Generator().manual_seed(seed))


def test_gpt_2_has_its_published_number_of_parameters() -> None:
    lists = {"depth": [12], "width": [768], "heads": [12], "ffn": [3072]}
    space = elastic_lm(input_shape=(1024,), classes=50257, tied=True, **lists)
    with torch.device("meta"):
        network = extract(space.network(), space.largest())
    assert count_params(network) == 124_439_808  # the released model of 124M


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_every_architecture_equals_its_extracted_network_and_its_masks(seed: int) -> None:
    arch, x = SPACE.sample(np.random.default_rng(seed)), tokens(seed)
    with torch.no_grad():
        expected = NET(x, arch)
        assert expected.shape == (2, 7, 12)
        torch.testing.assert_close(extract(NET, arch)(x), expected, atol=1e-5, rtol=1e-5)
        for kind in (SoftArch, Masks):
            torch.testing.assert_close(NET(x, kind.one_hot(SPACE, arch)), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("tied", [True, False])
def test_both_kinds_of_output_layer_keep_the_promises_of_a_space(tied: bool) -> None:
    assert check_space(elastic_lm, input_shape=(12,), classes=7, tied=tied, **TINY) == []


def test_an_output_layer_of_its_own_adds_a_weight_for_each_token_and_column() -> None:
    arch = SPACE.smallest()
    tied = elastic_lm(input_shape=(12,), classes=7, tied=True, **TINY)
    assert count_params(SPACE.build(arch)) == count_params(tied.build(arch)) + 7 * 16
    assert tied.hash != SPACE.hash


def test_logits_of_a_position_follow_from_the_tokens_up_to_it() -> None:
    network, x = extract(NET, SPACE.largest()), tokens()
    changed = torch.cat([x[:, :8], (x[:, 8:] + 1) % 7], 1)
    torch.testing.assert_close(network(x)[..., :8], network(changed)[..., :8])
    torch.testing.assert_close(network(x)[..., :5], network(x[:, :5]))
    assert not torch.allclose(network(x)[..., 8:], network(changed)[..., 8:])


def test_more_tokens_than_the_context_are_told_in_one_line() -> None:
    for kind in (SPACE.largest(), Masks.one_hot(SPACE, SPACE.smallest())):
        with pytest.raises(NasplatError, match=r"^13 tokens, but the network has positions for 12: give"):
            NET(tokens(t=13), kind)


def alphabet(folder: Path) -> Dataset:
    """A text whose next character is certain after the first."""
    (folder / "abc.txt").write_text("abcdef" * 200)
    return load_data("text", path=folder / "abc.txt", context=12, stride=6)


@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_a_supernet_learns_a_simple_text_in_all_its_sizes_also_by_distillation(
    tmp_path: Path, alpha: float
) -> None:
    data = alphabet(tmp_path)
    recipe = METHODS["sandwich"](**SPACE.recipe, epochs=10, batch_size=32, random=1, alpha=alpha)
    net = SPACE.supernet(seed=1)
    assert data.classes == 7
    train(net, data, recipe.schedule(SPACE, data, 0), recipe, Settings())
    for arch in (SPACE.smallest(), SPACE.largest(), SPACE.sample(np.random.default_rng(0))):
        assert evaluate(extract(net, arch), data.validation, data.task) < 0.5  # chance is log2(6) = 2.58 bits


def test_scores_that_need_images_say_that_they_do_not_apply() -> None:
    network, x = SPACE.build(SPACE.smallest()), tokens(n=8)
    found = score(network, x, x, ["synflow", "nwot"])
    assert {name: result.status for name, result in found.items()} == {
        "synflow": "not_applicable",
        "nwot": "not_applicable",
    }


def test_without_data_networks_are_measured_on_tokens_of_the_vocabulary() -> None:
    bench = Workbench(SPACE)
    example = bench.example(500)
    assert (tuple(example.shape), example.dtype) == ((500, 12), torch.int64)
    assert sorted(set(example.flatten().tolist())) == list(range(7))
    macs = make_metric("macs", {}, bench).measure(Candidate(SPACE.smallest(), bench)).value
    matrices = 16 * 3 * 16 + 16 * 16 + 2 * 16 * 16 + 16 * 7  # qkv, projection, feed-forward, output layer
    quick = Repeats(minimum=1, warmup_s=0.0, budget_s=0.01)
    assert measure_latency(SPACE.build(SPACE.smallest()), example[:2], repeats=quick).median_ms > 0
    assert macs == 12 * matrices + 2 * 12 * 12 * 16  # and queries times keys, weights times values


PAGE = """
[study]
name = "words"
trials = 2
[data]
name = "text"
path = "abc.txt"
context = 12
[space]
name = "elastic_lm"
depth = [1, 2]
width = [16, 32]
heads = [1, 2]
ffn = [16, 48]
[supernet]
epochs = 1
[[objective]]
metric = "bits_per_character"
[[objective]]
metric = "macs"
[[constraint]]
metric = "params"
max = 30_000
"""


def test_a_study_of_text_runs_and_its_export_is_verified_in_every_format(tmp_path: Path) -> None:
    data = alphabet(tmp_path)
    (tmp_path / "study.toml").write_text(PAGE)
    study = open_study(tmp_path)
    assert study.run().states == {"complete": 2}
    assert study.frame["bits_per_character"].between(0, 3).all()
    number = study.select("best:bits_per_character")
    bundle = study.export(number, tmp_path / "out", formats=["state", "pt2", "onnx"])
    network = load_bundle(bundle.folder)
    value = study[number].values["bits_per_character"]
    assert evaluate(network, data.validation, data.task) == pytest.approx(value, rel=1e-6)
    assert bundle.values == pytest.approx(dict.fromkeys(bundle.values, value), rel=1e-5)
    assert "Inputs (n, 12) int64, outputs (n, 7, 12)" in (bundle.folder / "README.md").read_text()
    assert study[number].svg().startswith("<svg")


@pytest.mark.parametrize(
    ("page", "message"),
    [
        (
            PAGE.replace("[space]", "[space]\nclasses = 5"),
            "[space] classes = 5, but the data has 7: give as many",
        ),
        (
            PAGE.replace('"text"\npath = "abc.txt"\ncontext = 12', '"digits"'),
            "[space] elastic_lm input_shape",
        ),
        (
            PAGE.replace('"elastic_lm"', '"elastic_vit"').replace("ffn = [16, 48]\n", ""),
            "[space] elastic_vit input_shape",
        ),
        (PAGE.replace('metric = "bits_per_character"', 'metric = "accuracy"'), "unknown metric 'accuracy'"),
    ],
)
def test_a_study_whose_text_and_space_do_not_fit_is_told_in_one_line(
    tmp_path: Path, page: str, message: str
) -> None:
    alphabet(tmp_path)
    (tmp_path / "study.toml").write_text(page)
    with pytest.raises(NasplatError) as error:
        open_study(tmp_path).run()
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"heads": [2, 5]}, "elastic_lm width = 32 is not divisible by heads = 5"),
        ({"ffn": [0]}, "elastic_lm ffn = [0]: give at least one number, all above 0"),
        ({"input_shape": (0,)}, "elastic_lm input_shape = [0]: give at least one number, all above 0"),
        ({"classes": 0}, "elastic_lm classes = [0]: give at least one number, all above 0"),
    ],
)
def test_arguments_that_make_no_space_are_told_in_one_line(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(NasplatError) as error:
        elastic_lm(**{"input_shape": (12,), "classes": 7} | TINY | arguments)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
