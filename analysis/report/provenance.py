"""How the runs of a report were made, from their records: what all share, what varies, where they ran, what they cost."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from analysis.curves.paths import as_path, for_each
from analysis.curves.record import read_json
from analysis.figures.axes import short

Records = dict[str, dict[str, Any]]
"""By run id, the content of `run.json` (`identity`, `config`, `facts`), with `environment` and `status` beside it."""

LISTED = 4  # values of a field that are spelt out
HOUR = 3600.0


def read_records(directory: Any) -> Records:
    """The records of a sweep directory; none where it is not one of ours."""
    path = as_path(directory)
    runs = sorted(each.parent for each in path.glob("*/run.json")) if path.is_dir() else []

    def read(run: Any) -> dict[str, Any]:
        beside = {name: read_json(run / f"{name}.json") or {} for name in ("environment", "status")}
        return {**(read_json(run / "run.json") or {}), **beside}

    return dict(zip((run.name for run in runs), for_each(path, read, runs), strict=True))


def configuration(records: Records) -> list[tuple[str, str]]:
    """Each field of the runs' identity with its value, or with the values it takes where they differ."""
    fields: dict[str, list[Any]] = {}
    for record in records.values():
        identity = {**record.get("identity", {}), "corpus": record.get("config", {}).get("data", {}).get("corpus")}
        for name, value in _flat(identity):
            fields.setdefault(name, []).append(value)
    return [(name, _said(values)) for name, values in fields.items()]


def training_sentences(records: Records) -> list[str]:
    """What was trained, on what, how, where, with which versions and at what cost; empty without records."""
    if not records:
        return []
    networks = {run: record for run, record in records.items() if record.get("facts", {}).get("baseline") is None}
    counted = [record["facts"]["baseline"] for run, record in records.items() if run not in networks]
    said = dict(configuration(networks or records))

    def of(name: str) -> str:
        return said.get(name, "unknown")

    data = (
        f"The data are `{of('corpus')}` (content {of('data.corpus')}) as tokens of `{of('data.tokenizer')}`, "
        f"{_facts(records)}, in "
        f"sequences of {of('data.sequence_length')}; the held-out loss averages over {of('data.validation_tokens')} tokens."
    )
    trained = (
        f"{len(networks)} {_kind(networks)} (width {of('model.width')}, layers {of('model.layers')}, parametrization "
        f"{of('model.parametrization.name')}, {of('model.dtype')}) were trained with {of('optimizer.name')}, a peak "
        "learning rate of "
        f"{of('optimizer.learning_rate')} under a {of('schedule.kind')} schedule with a warmup of "
        f"{of('schedule.warmup_tokens')} "
        f"tokens, in batches of {of('training.batch_tokens')} tokens; seed {of('seed')}."
    )
    beside = f"{_said(counted)} models were counted on the same data."
    return [*([trained] if networks else []), *([beside] if counted else []), data, *_circumstances(records), _cost(records)]


def _kind(networks: Records) -> str:
    objectives = {record.get("config", {}).get("training", {}).get("objective", "causal") for record in networks.values()}
    if objectives == {"causal"}:
        return "decoder-only transformers"
    return f"transformers (objective {', '.join(sorted(objectives))})"


def commits(records: Records) -> list[str]:
    """The commits of the code that trained the runs."""
    found = (record["environment"].get("commit") for record in records.values())
    return list(dict.fromkeys(commit for commit in found if commit))


def _circumstances(records: Records) -> Iterator[str]:
    environments = [record["environment"] for record in records.values() if record["environment"]]
    if not environments:
        return
    devices = [each.get("devices", {}) for each in environments]
    kinds = _said([f"{each.get('count')} x {each.get('kind')}" for each in devices])
    hosts = len({each.get("host") for each in environments})
    platforms = _said([each.get("platform") for each in environments])
    yield f"Each run had {kinds}, on {hosts} host{'s' * (hosts > 1)} ({platforms})."
    packages: dict[str, list[str]] = {"Python": [each.get("python", "unknown") for each in environments]}
    for each in environments:
        for name, version in each.get("packages", {}).items():
            packages.setdefault(name, []).append(version)
    versions = ", ".join(f"{name} {_said(found)}" for name, found in packages.items())
    yield f"Versions: {versions}; commit {', '.join(commits(records)) or 'unknown'}."


def _cost(records: Records) -> str:
    flops = seconds = 0.0
    begun, ended = [], []
    for record in records.values():
        status, facts = record["status"], record.get("facts", {})
        flops += facts.get("flops", 0.0) * status.get("step", 0) / (status.get("steps") or facts.get("steps") or 1)
        seconds += status.get("seconds", 0.0)
        begun += [record["environment"].get("started")] * bool(record["environment"].get("started"))
        ended += [status.get("updated")] * bool(status.get("updated"))
    text = f"Together they spent {flops:.3g} model FLOPs and {duration(seconds)} of training"
    if begun and ended:
        span = datetime.fromisoformat(max(ended)) - datetime.fromisoformat(min(begun))
        text += f", between {min(begun)} and {max(ended)} ({duration(span.total_seconds())})"
    return text + "."


def _facts(records: Records) -> str:
    facts = [record.get("facts", {}) for record in records.values()]
    return f"a vocabulary of {_said([each.get('vocabulary') for each in facts])}"


def duration(seconds: float) -> str:
    """Seconds, minutes or hours with three digits."""
    for unit, length in (("hours", HOUR), ("minutes", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.3g} seconds"


def _flat(fields: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in fields.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value


def _said(values: list[Any]) -> str:
    """One value, a few of them, or the range of many."""
    distinct = list(dict.fromkeys(map(_hashable, values)))
    numeric = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in distinct)
    if numeric:
        distinct.sort()
    if len(distinct) <= LISTED:
        return ", ".join(map(_text, distinct))
    if numeric:
        return f"{_text(distinct[0])} to {_text(distinct[-1])} ({len(distinct)} values)"
    return f"{', '.join(map(_text, distinct[:LISTED]))} and {len(distinct) - LISTED} more"


def _hashable(value: Any) -> Any:
    return value if isinstance(value, (str, int, float, type(None))) else str(value)


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, float):
        return short(value) if value >= 1e4 else f"{value:g}"
    return str(value)
