"""The tuning stage of a sweep: the best learning rate, and batch, of a few rungs, and from their law of all.        (no jax)

```yaml
tune:
  rungs: [{model: 1M, tokens_per_parameter: 20}, {model: 2M, tokens_per_parameter: 20}, {model: 4M, tokens_per_parameter: 20}]
  rates: [1e-3, 2e-3, 4e-3]        # the cohort of each rung, to begin with
  batches: [8k, 16k, 32k]          # tokens; left out where the batch is not tuned
```

The cohorts are a sweep of their own in `<sweep>/tuning/`. A best value at the edge of what was tried is not believed: the
cohort is extended until the best lies between two worse ones. Under muP and CompleteP one rung is tuned and its values are
those of all cells. `<sweep>/tuning.json` keeps what was found, run by run.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from scaling.config import DataConfig, RunConfig, build
from scaling.errors import ScalingError
from scaling.record import RunDirectory, now, read_json, write_json
from scaling.sweeps.cells import configure, network
from scaling.sweeps.grid import Labels, SweepConfig, Tune
from scaling.sweeps.optima import Optimum, Tuned, fit_power_law, search
from scaling.sweeps.plan import Plan, make_plan
from scaling.sweeps.rules import size_of

MOST = 12
"""Values of one cohort."""

TRANSFERRING = ("mup", "completep")
"""Parametrizations under which the best rate does not go with the size."""


@dataclass(frozen=True)
class Trial:
    """One run of a cohort."""

    batch: int
    """Tokens; 0 where the batch is not tuned and the base's is kept."""
    rate: float

    def labels(self, rung: Labels) -> Labels:
        """Of its cell."""
        batch = {"training.batch_tokens": self.batch} if self.batch else {}
        return {**rung, **batch, "optimizer.learning_rate": self.rate}


@dataclass
class Rung:
    """A size that is tuned, and the trials at it."""

    labels: Labels
    rates: dict[int, list[float]]
    """Of each batch, those that are tried."""
    losses: dict[Trial, float] = field(default_factory=dict)
    """Infinite where the run diverged."""
    runs: dict[Trial, str] = field(default_factory=dict)
    """Their ids."""

    @property
    def trials(self) -> list[Trial]:
        """All of them."""
        return [Trial(batch, rate) for batch, rates in self.rates.items() for rate in rates]

    def read(self, plan: Plan, home: Path) -> None:
        """Take the losses of the runs that have ended."""
        for trial in self.trials:
            labels = trial.labels(self.labels)
            run = next(cell.specification.run_id for cell in plan.cells if cell.labels == labels)
            status = RunDirectory(home / run).status
            if status["state"] in ("done", "diverged"):
                self.losses[trial] = status["loss"] if status["state"] == "done" else math.inf
                self.runs[trial] = run

    def best(self, sequence_length: int) -> Trial | None:
        """The best batch and rate; None where trials had to be added to tell.

        Raises:
            ScalingError: the best is still at the edge of `MOST` values.
        """
        found: dict[int, Optimum] = {}
        for batch, rates in self.rates.items():
            answer = search({rate: self.losses[Trial(batch, rate)] for rate in rates})
            if isinstance(answer, Optimum):
                found[batch] = answer
            else:
                self._refuse_many("learning_rate", rates)
                rates.append(float(f"{answer:.3g}"))
        if len(found) < len(self.rates):
            return None
        if len(found) == 1:
            ((batch, optimum),) = found.items()
            return Trial(batch, optimum.value)
        answer = search({batch: optimum.loss for batch, optimum in found.items()})
        if isinstance(answer, Optimum):
            return Trial(round(answer.value), _rate_at(answer.value, found))
        batch = max(1, round(answer / sequence_length)) * sequence_length
        if batch in found:  # there is no smaller one
            return Trial(batch, found[batch].value)
        self._refuse_many("batch_tokens", list(self.rates))
        near = min(found, key=lambda each: abs(math.log(each / batch)))
        centre = found[near].value * math.sqrt(batch / near)  # square-root scaling of Adam with the batch
        step = self.rates[near][1] / self.rates[near][0]
        self.rates[batch] = [float(f"{centre * factor:.3g}") for factor in (1 / step, 1, step)]
        return None

    def _refuse_many(self, what: str, tried: list[Any]) -> None:
        if len(tried) >= MOST:
            rung = ", ".join(f"{path} {value}" for path, value in self.labels.items())
            raise ScalingError(
                f"tune: the best {what} of {rung} is not between two worse ones of {min(tried):g} to {max(tried):g} "
                f"after {len(tried)} values; begin with others"
            )

    def evidence(self, config: RunConfig, best: Trial) -> dict[str, Any]:
        """The rung in `tuning.json`."""
        size = size_of(config, config.steps * config.training.batch_tokens)
        trials = [
            {
                "run_id": self.runs[each],
                "batch_tokens": each.batch or None,
                "learning_rate": each.rate,
                "loss": loss if math.isfinite(loss) else None,
            }
            for each, loss in sorted(self.losses.items(), key=lambda pair: (pair[0].batch, pair[0].rate))
        ]
        numbers = {"parameters": size.parameters, "tokens": size.tokens}
        return {
            "labels": self.labels,
            **numbers,
            "learning_rate": best.rate,
            "batch_tokens": best.batch or None,
            "trials": trials,
        }


def tune(sweep: SweepConfig, settings: Tune, path: Path, train: Callable[[Plan, Path], bool]) -> Tuned | None:
    """What the tuning stage of a sweep finds, once all runs that it needs have ended.

    Args:
        sweep: whose cells are tuned.
        settings: its `tune`.
        path: the directory of the sweep.
        train: (plan of the cohorts, their directory) -> whether they have been trained; False leaves the stage for later.

    Returns:
        The law of the best values, or None where `train` left it.

    Raises:
        ScalingError: a stage that cannot be: too few rungs, a best value that stays at the edge.
    """
    length = build(DataConfig, sweep.base.get("data", {})).sequence_length
    rungs = [Rung(labels, {batch: list(settings.rates) for batch in settings.batches or [0]}) for labels in settings.rungs]
    configs = [network(configure(sweep.base, rung.trials[0].labels(rung.labels)), "tune") for rung in rungs]
    transferred = _is_transferred(configs)
    home = path / "tuning"
    best: list[Trial] = []
    while len(best) < len(rungs):
        plan = make_plan(_cohorts(sweep, rungs))
        for rung in rungs:
            rung.read(plan, home)
        if all(len(rung.losses) == len(rung.trials) for rung in rungs):
            best = [found for rung in rungs if (found := rung.best(length)) is not None]
        elif not train(plan, home):
            return None
    sizes = [size_of(config, config.steps * config.training.batch_tokens) for config in configs]
    rates = fit_power_law(sizes, [each.rate for each in best])
    batches = fit_power_law(sizes, [each.batch for each in best]) if settings.batches else None
    evidence = {
        "method": "one rung, transferred" if transferred else "a law over rungs",
        "law": "scale x N^parameters x D^tokens, N non-embedding parameters, D training tokens; residual: of its logarithm",
        "learning_rate": asdict(rates),
        "batch_tokens": None if batches is None else asdict(batches),
        "rungs": [rung.evidence(config, each) for rung, config, each in zip(rungs, configs, best, strict=True)],
    }
    present = read_json(path / "tuning.json") or {}
    if {name: value for name, value in present.items() if name != "created"} != evidence:
        write_json(path / "tuning.json", {"created": now(), **evidence})
    return Tuned(rates, batches)


def _cohorts(sweep: SweepConfig, rungs: list[Rung]) -> SweepConfig:
    """All trials as a sweep."""
    cells = [trial.labels(rung.labels) for rung in rungs for trial in rung.trials]
    execution = {"launcher": sweep.launcher, "resources": sweep.resources}
    return SweepConfig(name=f"{sweep.name}-tuning", base=sweep.base, cells=cells, **execution)


def _is_transferred(configs: list[RunConfig]) -> bool:
    """Whether one rung's values are those of all cells."""
    names = {config.model.parametrization.name for config in configs}
    if names <= set(TRANSFERRING):
        if len(configs) > 1:
            raise ScalingError(f"tune.rungs: under {min(names)} one rung is tuned and its rate transfers; got {len(configs)}")
        return True
    if len(configs) < 2:
        raise ScalingError(
            "tune.rungs: got 1; in the standard parametrization the best rate goes with the size and takes two rungs or more "
            "(one is enough with model.parametrization mup or completep)"
        )
    return False


def _rate_at(batch: float, found: Mapping[int, Optimum]) -> float:
    """The best rate of a batch size among those that were tried: the parabola, in logarithms, through the nearest three."""
    near = sorted(found, key=lambda each: abs(math.log(each / batch)))[:3]
    x = math.log(batch)
    points = [(math.log(each), math.log(found[each].value)) for each in near]
    terms = (y * math.prod((x - other) / (at - other) for other, _ in points if other != at) for at, y in points)
    return math.exp(math.fsum(terms))
