"""Cells of a plan, for launchers that run nothing."""

from scaling.config import MeshConfig


def cell(run_id="0123456789ab", parameters=10_000_000, role="fit", **mesh):
    """A cell as in `plan.json`, as far as a launcher reads it."""
    execution = {"mesh": MeshConfig(**mesh).model_dump()}
    chain = {"trunk": None, "branch": None}
    return {"run_id": run_id, "role": role, "parameters": parameters, **chain, "config": {"execution": execution}}
