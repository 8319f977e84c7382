"""Plans of masks: how many weights stay, which, and that plans survive files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from nasplat.errors import NasplatError
from nasplat.prune.sparse import MaskSettings, WeightEvidence, load_mask_plan, plan_masks, random_twin
from nasplat.prune.sparse.allocation import counts_of, erdos_renyi_kernel


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, groups=2),
        nn.Flatten(),
        nn.Linear(64, 10),
    )


X = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
NAMES = ["0.weight", "2.weight", "4.weight"]


def weights(module: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach() for name, p in module.named_parameters() if p.ndim > 1}


@settings(max_examples=25, deadline=None)
@given(st.floats(0.01, 1.0), st.sampled_from(["global", "layer", "erk"]), st.integers(0, 3))
def test_every_scope_keeps_exactly_the_share_that_was_asked_for(
    density: float, scope: str, seed: int
) -> None:
    net = network(seed)
    masks = plan_masks(net, density, scope=scope).masks(net)
    total = sum(w.numel() for w in weights(net).values())
    assert sum(int(mask.sum()) for mask in masks.values()) == round(density * total)


def test_a_global_mask_keeps_the_largest_weights_of_the_network() -> None:
    net = network()
    masks = plan_masks(net, 0.3).masks(net)
    kept = torch.cat([w[masks[name]].abs() for name, w in weights(net).items()])
    gone = torch.cat([w[~masks[name]].abs() for name, w in weights(net).items()])
    assert kept.min() >= gone.max()


def test_a_layerwise_mask_keeps_the_largest_weights_of_every_tensor() -> None:
    net = network()
    plan = plan_masks(net, 0.3, scope="layer")
    for name, mask in plan.masks(net).items():
        w = weights(net)[name].abs()
        assert w[mask].min() >= w[~mask].max()
        assert plan.densities[name] == pytest.approx(0.3, abs=1 / mask.numel())


def test_erdos_renyi_kernel_densities_follow_the_sums_of_the_dimensions() -> None:
    shapes = {"a": (64, 32, 3, 3), "b": (128, 64, 3, 3), "c": (100, 512)}
    found = erdos_renyi_kernel(shapes, 0.05)
    assert found["a"] / found["b"] == pytest.approx((102 / (64 * 32 * 9)) / (198 / (128 * 64 * 9)))
    assert found["c"] / found["b"] == pytest.approx((612 / (100 * 512)) / (198 / (128 * 64 * 9)))
    sizes = {name: int(np.prod(shape)) for name, shape in shapes.items()}
    kept = sum(found[name] * size for name, size in sizes.items())
    assert kept == pytest.approx(0.05 * sum(sizes.values()))


def test_what_would_get_more_than_all_of_its_weights_stays_dense_and_the_rest_shares() -> None:
    shapes = {"tiny": (4, 1, 3, 3), "large": (256, 256, 3, 3)}
    found = erdos_renyi_kernel(shapes, 0.2)
    assert found["tiny"] == 1.0
    assert found["tiny"] * 36 + found["large"] * 589824 == pytest.approx(0.2 * 589860)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 100), min_size=1, max_size=8))
def test_rounded_counts_keep_their_sum_and_stay_near(ideal: list[float]) -> None:
    named = {str(i): value for i, value in enumerate(ideal)}
    counts = counts_of(named)
    assert sum(counts.values()) == round(sum(ideal))
    assert all(abs(counts[name] - value) < 1 + 1e-6 for name, value in named.items())


LAYERS: dict[str, tuple[nn.Module, int, int]] = {
    "linear": (nn.Linear(16, 6), 1, 1),
    "convolution": (nn.Conv2d(8, 6, 3), 1, 1),
    "grouped convolution": (nn.Conv2d(16, 6, 3, groups=2), 1, 1),
    "transposed convolution": (nn.ConvTranspose2d(16, 6, 3, groups=2), 0, 2),
}


@pytest.mark.parametrize(("n", "m"), [(2, 4), (1, 8)])
@pytest.mark.parametrize("name", LAYERS)
def test_n_of_every_m_following_inputs_stay_and_they_are_the_largest(name: str, n: int, m: int) -> None:
    layer, axis, _ = LAYERS[name]
    plan = plan_masks(layer, n_of_m=(n, m))
    mask = plan.masks(layer)["weight"].movedim(axis, -1)
    size = layer.weight.detach().abs().movedim(axis, -1)  # type: ignore[union-attr,operator]
    for start in range(0, mask.shape[-1], m):
        block, values = mask[..., start : start + m], size[..., start : start + m]
        assert torch.equal(block.sum(-1), torch.full(block.shape[:-1], n))
        assert (values.where(block, torch.inf).amin(-1) >= values.where(~block, -torch.inf).amax(-1)).all()


def test_tensors_that_m_does_not_divide_stay_whole_and_say_why() -> None:
    net = network()
    plan = plan_masks(net, n_of_m=(2, 4))
    assert plan.densities == {"0.weight": 1.0, "2.weight": 0.5, "4.weight": 0.5}
    assert plan.tensors[0].reason == "4 does not divide its 3 inputs"
    assert "4 does not divide its 3 inputs" in repr(plan)


def test_blocks_of_inputs_never_cross_groups_of_a_transposed_convolution() -> None:
    layer = nn.ConvTranspose2d(12, 6, 3, groups=2)  # 6 inputs in each group, which 4 does not divide
    with pytest.raises(NasplatError, match="4 divides the inputs of no tensor: choose another m for 2:4"):
        plan_masks(layer, n_of_m=(2, 4))


def test_densities_go_by_patterns_of_tensors_or_modules_and_the_first_counts() -> None:
    net = network()
    plan = plan_masks(net, {"2": 0.5, "*.weight": 0.25, "0": 1.0})
    assert plan.densities == {"0.weight": 0.25, "2.weight": 0.5, "4.weight": 0.25}


def test_what_is_kept_stays_whole_and_does_not_count() -> None:
    net = network()
    plan = plan_masks(net, 0.1, settings=MaskSettings(keep=("4",)))
    assert plan.densities["4.weight"] == 1.0
    assert sum(t.kept for t in plan.tensors[:2]) == round(0.1 * sum(t.size for t in plan.tensors[:2]))


@pytest.mark.parametrize("scope", ["global", "layer", "erk"])
@pytest.mark.parametrize("score", ["magnitude", "random"])
def test_a_plan_within_another_keeps_no_weight_that_it_masks(scope: str, score: str) -> None:
    net = network()
    outer = plan_masks(net, 0.5, scope=scope, settings=MaskSettings(seed=1), score=score)
    inner = plan_masks(net, 0.2, scope=scope, settings=MaskSettings(within=outer, seed=2), score=score)
    for name, mask in inner.masks(net).items():
        assert not (mask & ~outer.masks(net)[name]).any()
    assert inner.kept == round(0.2 * inner.size)


def test_applying_multiplies_by_the_masks_and_leaves_the_original() -> None:
    net = network()
    before = {name: w.clone() for name, w in net.state_dict().items()}
    plan = plan_masks(net, 0.4)
    smaller = plan.apply(net)
    masks = plan.masks(net)
    for name, w in net.state_dict().items():
        assert torch.equal(w, before[name])
        assert torch.equal(smaller.state_dict()[name], w * masks[name] if name in masks else w)
    assert plan.holds(smaller)
    assert not plan.holds(net)


def test_a_plan_applies_to_other_weights_of_the_same_form() -> None:
    plan, other = plan_masks(network(0), 0.4), network(1)
    assert plan.holds(plan.apply(other))


def test_weights_that_two_layers_share_are_masked_once_and_stay_shared() -> None:
    net = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    net[1].weight = net[0].weight
    plan = plan_masks(net, 0.5)
    assert [tensor.name for tensor in plan.tensors] == ["0.weight"]
    smaller = plan.apply(net)
    assert smaller[1].weight is smaller[0].weight  # type: ignore[index]


def test_attention_is_masked_in_all_its_projections() -> None:
    plan = plan_masks(nn.MultiheadAttention(8, 2), 0.5)
    assert [tensor.name for tensor in plan.tensors] == ["in_proj_weight", "out_proj.weight"]


def test_snip_scores_weights_by_their_gradient_times_themselves() -> None:
    layer, x = nn.Linear(6, 4, bias=False), torch.randn(5, 6)
    expected = (
        layer.weight * x.sum(0)
    ).abs() >= 0  # of sum(W x) the gradient is x, the same for every output
    scores = (layer.weight * x.sum(0)).abs().flatten()
    expected = (scores >= scores.sort().values[-8]).reshape(4, 6)
    options = MaskSettings(loss=lambda module: (module(x[i]).sum() for i in range(5)))
    plan = plan_masks(layer, 8 / 24, score="snip", settings=options)
    assert torch.equal(plan.masks(layer)["weight"], expected)
    assert layer.weight.grad is None


def test_a_score_of_ones_own_is_a_function_of_the_evidence() -> None:
    layer = nn.Linear(2, 3)

    def rows(evidence: WeightEvidence) -> dict[str, Tensor]:
        return {name: torch.arange(3.0)[:, None].expand(3, 2) for name in evidence.weights}

    plan = plan_masks(layer, 1 / 3, score=rows)
    assert plan.masks(layer)["weight"].tolist() == [[False] * 2, [False] * 2, [True] * 2]
    assert plan.asked["score"] == "rows"


def test_a_random_twin_keeps_as_many_weights_of_every_tensor_elsewhere() -> None:
    net = network()
    plan = plan_masks(net, 0.3)
    one, other = random_twin(plan, 1), random_twin(plan, 2)
    assert one.densities == other.densities == plan.densities
    for name, mask in one.masks(net).items():
        assert int(mask.sum()) == int(plan.masks(net)[name].sum())
        assert not torch.equal(mask, other.masks(net)[name])


def test_a_saved_plan_comes_back(tmp_path: Path) -> None:
    net = network()
    plan = plan_masks(net, n_of_m=(1, 4), settings=MaskSettings(keep=("2",)))
    digest = plan.save(tmp_path / "masks.safetensors")
    again = load_mask_plan(tmp_path / "masks.safetensors")
    assert repr(again) == repr(plan)
    assert again.tensors == plan.tensors
    assert all(torch.equal(again.masks(net)[name], mask) for name, mask in plan.masks(net).items())
    assert again.save(tmp_path / "again.safetensors") == digest
    assert (tmp_path / "masks.safetensors").stat().st_size < 2000  # bits, not bytes: 640 weights


def test_files_that_are_no_plan_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "masks.safetensors"
    with pytest.raises(NasplatError, match="no file"):
        load_mask_plan(path)
    plan_masks(network(), 0.5).save(path)
    content = path.read_bytes()
    flipped = content[:-3] + bytes([content[-3] ^ 0xFF]) + content[-2:]
    for damaged in (content[: len(content) // 2], flipped, b"no tensors"):
        path.write_bytes(damaged)
        with pytest.raises(NasplatError, match="is damaged"):
            load_mask_plan(path)


def test_a_plan_of_another_network_says_what_differs() -> None:
    plan = plan_masks(network(), 0.5)
    other = nn.Sequential(nn.Conv2d(3, 4, 3))
    with pytest.raises(
        NasplatError, match=r"the plan masks 0.weight \(8, 3, 3, 3\), but here it is \(4, 3, 3, 3\)"
    ):
        plan.apply(other)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({}, r"give plan_masks either density = ... or n_of_m = \(n, m\)"),
        ({"density": 0.5, "n_of_m": (2, 4)}, "either density"),
        ({"density": 1.5}, "density = 1.5: expected a share"),
        ({"density": {"9": 0.5}}, "'9' means no maskable tensor or its module"),
        ({"n_of_m": (4, 4)}, r"n_of_m = \(4, 4\): expected two numbers"),
        ({"density": 0.5, "scope": "globl"}, "unknown scope 'globl': did you mean 'global'"),
        ({"density": 0.5, "score": "magnitud"}, "unknown score 'magnitud' of weights: did you mean"),
        ({"density": 0.5, "score": "snip"}, "score 'snip' needs a loss"),
        ({"density": 0.5, "score": lambda evidence: {}}, "the score gives nothing for 0.weight"),
        ({"density": 0.5, "settings": MaskSettings(keep=("*",))}, "leaves no weights to mask"),
        (
            {"density": 0.5, "settings": MaskSettings(within=plan_masks(network(), 0.1))},
            "more than the 0.09986 that `within` keeps",
        ),
        (
            {"density": {"0": 0.5}, "settings": MaskSettings(within=plan_masks(network(), {"0": 0.2}))},
            "0.weight is to keep 108 weights, but `within` keeps 43: ask for less",
        ),
        (
            {"density": 0.5, "settings": MaskSettings(keep="0")},
            r"expected a list of patterns, such as \['0'\]",
        ),
        ({"n_of_m": (1.5, 4)}, "expected two numbers"),
    ],
)
def test_what_makes_no_sense_is_told_in_one_line(arguments: dict[str, Any], line: str) -> None:
    with pytest.raises(NasplatError, match=line) as told:
        plan_masks(network(), **arguments)
    assert "\n" not in str(told.value)


def test_a_network_without_such_layers_and_one_with_broken_weights_are_refused() -> None:
    with pytest.raises(NasplatError, match="no weights to mask"):
        plan_masks(nn.BatchNorm1d(3), 0.5)
    with pytest.raises(NasplatError, match="weight has no shape yet: call the module"):
        plan_masks(nn.LazyLinear(3), 0.5)
    with pytest.raises(NasplatError, match="int is no torch"):
        plan_masks(3, 0.5)  # type: ignore[arg-type]
    net = network()
    settings = MaskSettings(loss=lambda module: [])
    with pytest.raises(NasplatError, match=r"needs gradients, but 0\.weight is frozen"):
        plan_masks(net.requires_grad_(False), 0.5, score="snip", settings=settings)
    with torch.no_grad():
        net[0].weight[0, 0, 0, 0] = torch.nan  # type: ignore[index]
    with pytest.raises(NasplatError, match=r"the score of 0\.weight is not finite"):
        plan_masks(net, 0.5)
