"""Networks trained together equal networks trained alone by PyTorch's own optimisers, modules and modes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasplat.data import Dataset, Split
from nasplat.zoo import FAMILIES, Classifiers, SirenForm, Sirens, places, render
from nasplat.zoo.classifiers import Job
from nasplat.zoo.pupils import Pupil

CPU = torch.device("cpu")
BATCH = 8


def toy(dtype: torch.dtype = torch.float32, n: int = 40) -> Dataset:
    """Random images of 8x8 pixels in three classes; a stripe is brighter the higher the class."""
    source = torch.Generator().manual_seed(0)
    splits = []
    for size in (n, 20, 20):
        labels = torch.randint(3, (size,), generator=source)
        images = torch.randn(size, 1, 8, 8, generator=source, dtype=torch.float64)
        images[:, :, 2:5] += labels.view(-1, 1, 1, 1)
        splits.append(Split(images.to(dtype), labels))
    return Dataset("toy", *splits, classes=3)


def jobs(family: str, data: Dataset, **settings: object) -> list[Job]:
    given = {"group_size": 3, "batch_size": BATCH, "steps": (2, 6), **settings}
    return list(Classifiers(3, (family,), 5, **given).jobs(data))


def alone(job: Job, k: int, data: Dataset) -> nn.Module:
    """Network k of a job by a plain loop."""
    recipe, pupil = job.recipes[k], Pupil.of(job, k, data)
    module = job.network(k).to(data.train.inputs.dtype).train()
    rates = {"lr": recipe.learning_rate, "weight_decay": recipe.weight_decay}
    adamw = job.optimiser == "adamw"
    optimiser = (
        torch.optim.AdamW(module.parameters(), **rates)
        if adamw
        else torch.optim.SGD(module.parameters(), momentum=0.9, **rates)
    )
    for which in pupil.order:
        optimiser.zero_grad()
        F.cross_entropy(module(data.train.inputs[which]), pupil.labels[which]).backward()
        optimiser.step()
    return module


@pytest.mark.parametrize("family", FAMILIES)
def test_a_network_trained_in_a_stack_equals_the_same_network_trained_alone(family: str) -> None:
    data = toy(torch.float64)
    (job,) = jobs(family, data)
    group = job.train(data, CPU)
    for k in range(3):
        for name, expected in alone(job, k, data).state_dict().items():
            torch.testing.assert_close(group.tensors[name][k], expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("family", ["norm", "residual"])
def test_in_single_precision_they_are_equal_to_rounding(family: str) -> None:
    # Not attention: a key's bias has no gradient but rounding, and AdamW blows that up to full steps.
    data = toy()
    (job,) = jobs(family, data, steps=(3, 3))
    group = job.train(data, CPU)
    for name, expected in alone(job, 1, data).state_dict().items():
        torch.testing.assert_close(group.tensors[name][1], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
def test_both_optimisers_are_those_of_pytorch(optimiser: str) -> None:
    data = toy(torch.float64)
    (job,) = jobs("mlp", data)
    job = replace(job, optimiser=optimiser)
    group = job.train(data, CPU)
    for k in range(3):
        for name, expected in alone(job, k, data).state_dict().items():
            torch.testing.assert_close(group.tensors[name][k], expected, rtol=1e-10, atol=1e-10)


def test_the_table_says_what_the_loaded_module_does() -> None:
    data = toy()
    (job,) = jobs("norm", data)
    group = job.train(data, CPU)
    for k, row in enumerate(group.rows):
        module, pupil = group.module(k), Pupil.of(job, k, data)
        with torch.no_grad():
            test, own = module(data.test.inputs), module(data.train.inputs[pupil.examples])
        labels = pupil.labels[pupil.examples]
        assert row["test_accuracy"] == float((test.argmax(1) == data.test.targets).double().mean())
        assert row["train_accuracy"] == float((own.argmax(1) == labels).double().mean())
        assert row["test_loss"] == pytest.approx(float(F.cross_entropy(test, data.test.targets)), abs=1e-5)
        assert row["gap"] == row["train_accuracy"] - row["test_accuracy"]


def test_running_statistics_are_each_networks_own_and_stop_with_it() -> None:
    data = toy()
    (job,) = jobs("norm", data)
    group = job.train(data, CPU)
    counted = next(t for name, t in group.tensors.items() if name.endswith("num_batches_tracked"))
    assert counted.tolist() == [recipe.steps for recipe in job.recipes]
    means = next(t for name, t in group.tensors.items() if name.endswith("running_mean"))
    assert not means[0].equal(means[1])


def test_a_network_does_not_depend_on_those_beside_it() -> None:
    data = toy(torch.float64)
    settings = {"count": 4, "families": ("plain",), "steps": (2, 6), "batch_size": BATCH}
    (wide,) = Classifiers(**settings, group_size=4).jobs(data)
    narrow = next(Classifiers(**settings, group_size=2).jobs(data))
    one, other = wide.train(data, CPU), narrow.train(data, CPU)
    for name, tensor in other.tensors.items():
        torch.testing.assert_close(one.tensors[name][:2], tensor, rtol=1e-10, atol=1e-10)


def test_a_recipe_shows_in_what_a_network_sees() -> None:
    data = toy(n=1000)
    (job,) = Classifiers(30, ("mlp",), group_size=30).jobs(data)
    for k, recipe in enumerate(job.recipes):
        pupil = Pupil.of(job, k, data)
        assert len(pupil.examples) == len(set(pupil.examples.tolist())) == round(1000 * recipe.train_fraction)
        assert set(pupil.order.flatten().tolist()) <= set(pupil.examples.tolist())
        assert pupil.order.shape == (recipe.steps, 32)
        wrong = float((pupil.labels != data.train.targets).double().mean())
        assert wrong == pytest.approx(recipe.label_noise * 2 / 3, abs=0.06)  # a third is drawn as it was


def test_one_pass_shows_each_example_once() -> None:
    data = toy()
    (job,) = jobs("mlp", data, steps=(40, 40))
    pupil = Pupil.of(job, 0, data)
    first = pupil.order.flatten()[: len(pupil.examples)]
    assert sorted(first.tolist()) == sorted(pupil.examples.tolist())


def test_a_network_that_diverges_is_kept_with_its_status_and_harms_nobody() -> None:
    data = toy()
    (job,) = jobs("plain", data, steps=(6, 6))
    job = replace(job, optimiser="sgd")
    wild = replace(job.recipes[1], learning_rate=1e30)
    group = replace(job, recipes=(job.recipes[0], wild, job.recipes[2])).train(data, CPU)
    assert [row["status"] for row in group.rows] == ["trained", "diverged", "trained"]
    assert group.rows[1]["test_loss"] is None
    calm = job.train(data, CPU)
    for name, tensor in calm.tensors.items():
        torch.testing.assert_close(group.tensors[name][2], tensor[2], rtol=1e-5, atol=1e-6)


def test_the_callers_random_numbers_are_left_alone() -> None:
    data = toy()
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    group = jobs("attention", data)[0].train(data, CPU)
    group.module(0)
    assert torch.rand(1).equal(expected)


def pictures(n: int = 6) -> Dataset:
    source = torch.Generator().manual_seed(0)
    split = Split(torch.rand(n, 2, 4, 5, generator=source), torch.arange(n))
    return Dataset("pictures", split, split, split, classes=n)


def siren_alone(job: object, k: int, target: Tensor) -> nn.Module:
    module = job.network(k, SirenForm(8, 2, 10.0, 2))
    optimiser = torch.optim.Adam(module.parameters(), 1e-3)
    x = places(4, 5)
    for _ in range(job.settings.steps):
        optimiser.zero_grad()
        F.mse_loss(module(x), target).backward()
        optimiser.step()
    return module


def test_a_siren_fitted_in_a_stack_equals_one_fitted_alone() -> None:
    data = pictures()
    (job,) = Sirens(3, steps=4, form=SirenForm(8, 2, 10.0)).jobs(data)
    group = job.train(data, CPU)
    for k, row in enumerate(group.rows):
        image = getattr(data, row["split"]).inputs[row["image"]]
        expected = siren_alone(job, k, image.flatten(1).T)
        for name, tensor in expected.state_dict().items():
            torch.testing.assert_close(group.tensors[name][k], tensor, rtol=1e-4, atol=1e-5)


def test_a_siren_renders_the_image_that_it_was_fitted_to() -> None:
    data = pictures()
    (job,) = Sirens(3, steps=400, form=SirenForm(32, 2, 10.0)).jobs(data)
    group = job.train(data, CPU)
    for k, row in enumerate(group.rows):
        image = getattr(data, row["split"]).inputs[row["image"]]
        error = float((render(group.module(k), 4, 5) - image).square().mean())
        assert error < 1e-4
        assert row["label"] == row["image"]


def test_more_sirens_than_images_show_images_again_from_other_weights() -> None:
    data = pictures(2)
    (job,) = Sirens(12, steps=1, form=SirenForm(4, 1, 10.0)).jobs(data)
    group = job.train(data, CPU)
    shown = [(row["split"], row["image"]) for row in group.rows]
    assert shown[:6] == shown[6:]
    assert len(set(shown)) == 6
    assert not group.tensors["last.weight"][0].equal(group.tensors["last.weight"][6])


def test_places_are_the_centres_of_pixels_from_left_to_right() -> None:
    expected = [(-0.5, -2 / 3), (0.5, -2 / 3), (-0.5, 0), (0.5, 0), (-0.5, 2 / 3), (0.5, 2 / 3)]
    torch.testing.assert_close(places(3, 2), torch.tensor(expected))
