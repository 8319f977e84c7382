"""What a metanetwork is trained for, against finite differences and formulas written out."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasplat.channels import ParameterGraph
from nasplat.errors import NasplatError, TrainingError
from nasplat.prune.meta import MetaSettings, cross_entropies
from nasplat.prune.meta.data_models import DataModel, StandIn, data_model, data_models, rewritten
from nasplat.prune.meta.objective import meta_gradients
from nasplat.prune.meta.rewriter import Rewriter
from nasplat.prune.planning import plan_pruning

from .pupils import EXAMPLE, TINY, images, pupil

SETTINGS = replace(TINY, accuracy=3.0, reg=0.5)


def in_double() -> tuple[Rewriter, DataModel, Tensor, Tensor]:
    torch.manual_seed(3)
    inputs, targets = images(20)
    (model,) = data_models([(pupil(6).double(), EXAMPLE.double())], cut=True)
    rewriter = Rewriter(SETTINGS).double()
    rewriter.learn([model.graph])
    return rewriter, model, inputs.double(), targets


def pulls(graph: ParameterGraph, model: DataModel) -> dict[str, Tensor]:
    """gamma_c of every channel of a tensor, spread over its elements and summed over the axes that carry channels,
    channel by channel in a loop."""
    tensors = {name: tensor.detach() for name, tensor in graph.tensors.items()}
    weights = [name for name, t in tensors.items() if t.ndim > 1]
    weights += [
        f"{name}.weight" for name, m in model.module.named_modules() if isinstance(m, torch.nn.BatchNorm2d)
    ]
    found = {name: torch.zeros_like(tensors[name]) for name in weights}
    for space in model.spec.spaces:
        if space.kind != "hidden":
            continue
        norms, places = {}, {}
        for channel in range(space.start, space.stop):
            held = [
                (s.parameter, (slice(None),) * s.axis + ([i],))
                for s in model.spec.slots
                if s.parameter in weights
                for i, number in enumerate(s.channels[0])
                if number == channel
            ]
            places[channel] = held
            norms[channel] = (sum(tensors[n][at].square().sum() for n, at in held) / len(held)).sqrt()
        low, high = min(norms.values()), max(norms.values())
        for channel, held in places.items():
            for name, at in held:
                found[name][at] += SETTINGS.alpha ** ((high - norms[channel]) / (high - low))
    return found


def small(graph: ParameterGraph, model: DataModel) -> nn.Module:
    """A network with the numbers of a graph, really pruned, whose norms work by the statistics of the batch."""
    module = rewritten(model, graph)
    plan = plan_pruning(copy.deepcopy(module).float(), EXAMPLE, "l2", speedup=2.0)
    return plan.apply(module).train()


def test_the_cut_is_that_of_a_plan_and_computes_what_the_pruned_network_computes() -> None:
    _, model, inputs, _ = in_double()
    assert model.cutter is not None
    tensors = model.cutter.cut(model.graph.tensors, 2.0)
    found = StandIn(model.cutter.module, ParameterGraph(model.graph.structure, tensors))(inputs)
    torch.testing.assert_close(found, small(model.graph, model)(inputs))
    assert all(
        torch.equal(model.graph.tensors[name], tensor)
        for name, tensor in pupil(6).double().state_dict().items()
    )


@pytest.mark.parametrize("pruned", [0.0, 2.0])
def test_meta_gradients_equal_finite_differences_of_all_terms_in_double_precision(pruned: float) -> None:
    rewriter, model, inputs, targets = in_double()
    settings = replace(SETTINGS, pruned=pruned, speedups=(2.0,))
    losses = cross_entropies(inputs, targets, batch=20)  # norms of the cut network see all of it
    meta_gradients(rewriter, model, losses, 0, settings)
    with torch.no_grad():
        gamma = pulls(rewriter(model.graph), model)

    def objective() -> float:
        with torch.no_grad():
            new = rewriter(model.graph)
            loss = F.cross_entropy(new.functional(model.module, inputs), targets)
            pull = sum((g * new.tensors[name].square()).sum() for name, g in gamma.items()) / 2
            cut = F.cross_entropy(small(new, model)(inputs), targets) if pruned else 0.0
            return float(settings.accuracy * loss + settings.reg * pull + pruned * cut)

    for name, parameter in [*rewriter.named_parameters()][:: 5 if pruned else 1]:  # a cut traces a network
        assert parameter.grad is not None, name
        place = int(parameter.grad.abs().argmax())
        flat, step = parameter.data.view(-1), 1e-6
        values = []
        for sign in (1, -1):
            flat[place] += sign * step
            values.append(objective())
            flat[place] -= sign * step
        measured = (values[0] - values[1]) / (2 * step)
        assert measured == pytest.approx(float(parameter.grad.view(-1)[place]), rel=1e-5, abs=1e-6), name


def test_gradients_of_several_batches_are_the_mean_of_those_of_each_through_the_cut_too() -> None:
    rewriter, model, inputs, targets = in_double()
    settings = replace(SETTINGS, reg=0.0, pruned=2.0, speedups=(2.0,))

    def gradients(*parts: slice) -> list[Tensor]:
        rewriter.zero_grad()
        meta_gradients(
            rewriter,
            model,
            lambda module, _: (F.cross_entropy(module(inputs[part]), targets[part]) for part in parts),
            0,
            settings,
        )
        return [parameter.grad.clone() for parameter in rewriter.parameters() if parameter.grad is not None]

    first, second = slice(0, 10), slice(10, 20)
    for both, one, other in zip(gradients(first, second), gradients(first), gradients(second), strict=True):
        torch.testing.assert_close(both, (one + other) / 2)


def test_a_network_elsewhere_is_rewritten_there_and_batches_go_to_it() -> None:
    """The device "meta" computes shapes only, and refuses to work with tensors of another."""
    there = torch.device("meta")
    rewriter, model = Rewriter(TINY).to(there), data_model(pupil(), EXAMPLE, device=there)
    new = rewriter(model.graph)
    assert {tensor.device for tensor in new.tensors.values()} == {there}
    (loss,) = cross_entropies(*images(), batch=20)(StandIn(model.module, new), 0)
    loss.backward()
    assert {p.grad.device for p in rewriter.parameters() if p.grad is not None} == {there}
    (found,) = cross_entropies(*images(), batch=20)(model.module, 0)
    assert found.device == there


def test_the_seed_alone_says_which_batches_are_drawn() -> None:
    losses = cross_entropies(*images(), batch=10, batches=3)
    first, again, other = ([float(loss.detach()) for loss in losses(pupil(), seed)] for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert len(first) == 3


def test_more_batches_than_there_are_images_are_refused() -> None:
    with pytest.raises(NasplatError, match="3 batches of 20 of 40 inputs"):
        cross_entropies(*images(), batch=20, batches=3)


def test_a_loss_that_is_not_finite_ends_training() -> None:
    rewriter, model = Rewriter(TINY), data_model(pupil(), EXAMPLE)
    with pytest.raises(TrainingError, match="a loss of nan"):
        meta_gradients(rewriter, model, lambda module, _: [module(EXAMPLE).sum() * float("nan")], 0, TINY)
    with pytest.raises(TrainingError, match="no batch"):
        meta_gradients(rewriter, model, lambda module, _: [], 0, TINY)


def test_settings_that_make_no_sense_are_refused_by_name() -> None:
    with pytest.raises(NasplatError, match=r"width = 0.*alpha = 0\.5"):
        MetaSettings(width=0, alpha=0.5)
    with pytest.raises(NasplatError, match="did you mean 'layers'"):
        MetaSettings.from_json({"layer": 3})


def test_the_rate_drops_behind_each_named_epoch() -> None:
    settings = MetaSettings(rate=1.0, drops=(1, 3), factor=0.5)
    assert [settings.rate_at(epoch) for epoch in range(5)] == [1.0, 0.5, 0.5, 0.25, 0.25]
