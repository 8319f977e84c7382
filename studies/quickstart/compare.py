"""Three samplers at equal numbers of evaluations, and front networks beside themselves trained alone.

    python studies/quickstart/compare.py

All studies share the quickstart's supernet and store, so an architecture that two samplers ask for is measured once
and has one latency, but for a latency that was flagged as noisy: that is measured again when another study asks for it.
Writes results.csv beside this file and prints the tables of the README.
"""

from __future__ import annotations

import statistics
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
import torch
from scipy.stats import t

from nasplat import Study, open_study
from nasplat.data import evaluate
from nasplat.pareto import hypervolume
from nasplat.study.assembly import assemble
from nasplat.supernet import Recipe, Settings, train_network

HERE = Path(__file__).resolve().parent
SAMPLERS = {
    "random": "",
    "nsga2": "population_size = 12\n",
    "regularized_evolution": "population_size = 20\nsample_size = 5\n",
}
SEEDS = (0, 1, 2)
TRIALS = 60
REFERENCE = (0.5, 3.0)
"""The corner of the hypervolume: accuracy 0.5, latency 3 ms. What is worse in either adds nothing."""

EPOCHS = 10
"""Of a front network that is trained alone: twice the supernet's."""


def page(sampler: str, seed: int) -> Path:
    """A study file like the quickstart's, with another name, sampler and seed but the same supernet."""
    text = (HERE / "study.toml").read_text()
    kept = tomllib.loads(text)["sampler"]
    lines = [line for line in text.splitlines() if line.split(" = ")[0] not in {*kept} - {"name"}]
    text = "\n".join(lines).replace(f'name = "{kept["name"]}"', f'name = "{sampler}"\n{SAMPLERS[sampler]}')
    text = text.replace('name = "quickstart"', f'name = "compare-{sampler}-{seed}"')
    text = text.replace("seed = 0", f"seed = {seed}").replace(
        'method = "sandwich"', 'method = "sandwich"\nseed = 0'
    )
    path = HERE / f"compare-{sampler}-{seed}.toml"
    path.write_text(text)
    return path


def searched() -> Iterator[dict[str, object]]:
    """Run every sampler with every seed; a row each."""
    for sampler in SAMPLERS:
        for seed in SEEDS:
            path = page(sampler, seed)
            try:
                study = open_study(path)
                study.run(TRIALS, device="cpu")
                front = study.front()
                values = front[["accuracy", "latency"]].to_numpy(dtype=float)
                yield {
                    "what": "hypervolume",
                    "method": sampler,
                    "seed": seed,
                    "budget": f"{TRIALS} evaluations",
                    "value": hypervolume(values, study.record.directions, REFERENCE),
                    "unit": "accuracy x ms",
                    "origin": f"reference {REFERENCE}, front of {len(front)}, {_machine(study)}",
                }
            finally:
                path.unlink()


def trained_alone() -> Iterator[dict[str, object]]:
    """The fastest, the knee and the most accurate network of the quickstart: inherited and trained alone."""
    study = open_study(HERE)
    bench = assemble(study, "cpu").bench
    data = bench.need_data("accuracy")
    for which in ("best:latency", "knee", "best:accuracy"):
        trial = study[which]
        arch = bench.space.arch(trial.arch)
        row = {"method": f"{which}, trial {trial.number}", "unit": "1"}
        yield row | {
            "what": "inherited accuracy",
            "seed": 0,
            "budget": "supernet of 5 epochs",
            "value": trial.values["accuracy"],
            "origin": f"validation, {trial.values['latency']:.2f} ms",
        }
        for seed in SEEDS:
            network = bench.space.build(arch, seed)
            train_network(network, data, Recipe(epochs=EPOCHS), Settings(seed=seed))
            yield row | {
                "what": "accuracy alone",
                "seed": seed,
                "budget": f"{EPOCHS} epochs",
                "value": evaluate(network, data.validation, data.task),
                "origin": f"validation, torch {torch.__version__}",
            }


def _machine(study: Study) -> str:
    return str(study.front()["device"].iloc[0])


def summary(rows: pd.DataFrame) -> str:
    """Mean and range over the seeds, a line for each method; for samplers also the difference to random search."""
    lines = []
    control = (
        rows[(rows["what"] == "hypervolume") & (rows["method"] == "random")]
        .sort_values("seed")["value"]
        .tolist()
    )
    for (what, method), group in rows.groupby(["what", "method"], sort=False):
        values = group.sort_values("seed")["value"].tolist()
        spread = f" [{min(values):.3f}, {max(values):.3f}]" if len(values) > 1 else ""
        beyond = difference(values, control) if what == "hypervolume" and method != "random" else ""
        lines.append(
            f"| {what} | {method} | {statistics.mean(values):.3f}{spread} | {len(values)} | {beyond} |"
        )
    head = "| what | method | mean [range] | seeds | difference to random [95 %] |"
    return "\n".join([head, "|---|---|---|---|---|", *lines])


def difference(values: Sequence[float], control: Sequence[float]) -> str:
    """The mean of the paired differences (value minus control, by seed) with its 95 % t interval."""
    pairs = [value - other for value, other in zip(values, control, strict=True)]
    mean, n = statistics.mean(pairs), len(pairs)
    reach = t.ppf(0.975, n - 1) * statistics.stdev(pairs) / n**0.5
    return f"{mean:+.3f} [{mean - reach:.3f}, {mean + reach:.3f}]"


def main() -> None:
    """Run all, write results.csv, print the summary."""
    open_study(HERE).run(device="cpu")
    rows = pd.DataFrame([*searched(), *trained_alone()])
    rows.to_csv(HERE / "results.csv", index=False)
    print(summary(rows))


if __name__ == "__main__":
    main()
