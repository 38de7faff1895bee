"""The forecast of held-out runs, on every store: written before they may begin, kept beside the runs, and made once."""

import pytest

from scaling.cli.sweeps import _forecast
from scaling.config import build
from scaling.errors import ScalingError
from scaling.record import RunDirectory, read_json
from scaling.sweeps.grid import SweepConfig
from scaling.sweeps.plan import make_plan
from scaling.sweeps.stored import check_forecast, create_runs, read_plan, write_plan
from scaling.sweeps.studied import studied


def _loss(facts):
    return 1.5 + 40 / facts["non_embedding_and_head_parameters"] ** 0.4 + 60 / facts["tokens"] ** 0.4


def test_a_forecast_opens_the_way_for_held_out_runs_wherever_they_are_kept(place, base, capsys):
    sweep = place / "held"
    models = [{"width": width, "layers": 2, "heads": 2} for width in (16, 24, 32, 48)]
    axes = {"model": models, "training.tokens": ["64k", "128k", "192k"]}
    held_out = [{"model": {"width": 64, "layers": 2, "heads": 2}, "training.tokens": "256k"}]
    write_plan(
        sweep, make_plan(build(SweepConfig, {"name": "held", "base": base, "axes": axes, "holdouts": held_out})).record()
    )
    plan = read_plan(sweep)
    create_runs(sweep, plan)
    *fitted, last = plan["cells"]
    for cell in fitted:
        run, facts = RunDirectory(sweep / cell["run_id"]), cell["facts"]
        run.append({"step": facts["steps"], "tokens": facts["tokens"], "loss": _loss(facts)})
        run.flush()
        run.update_status(state="done", step=facts["steps"], steps=facts["steps"])
    with pytest.raises(ScalingError, match="is held out and has no forecast yet"):
        check_forecast(sweep, plan["cells"])
    for _ in range(2):
        with studied(sweep) as here:
            _forecast(sweep, here)
    assert capsys.readouterr().out.count("forecast") == 1  # one table: the second call found it made
    check_forecast(sweep, plan["cells"])
    forecast = read_json(sweep / "forecast.json")
    (prediction,) = forecast["predictions"]
    assert prediction["run"] == last["run_id"]
    assert prediction["loss"] == pytest.approx(_loss(last["facts"]), rel=1e-3)  # the losses are the law's, without noise
    assert len(forecast["origin"]["runs"]) == 12
    assert read_json(sweep / "fit.json") is not None
