"""A process that compiles what it is asked to: jobs as lines of JSON on stdin, answers as lines of JSON on stdout.

It is started as `python -m scaling.preflight.worker` by `pool.py`, which sets what the compilers read from the environment
before jax is imported. What the compilers print goes to stderr.
"""

import os
import sys
import traceback


def main() -> None:
    """Answer until stdin ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    from scaling.preflight.compilers import compile_job
    from scaling.preflight.jobs import Compilation, Failure, Job

    for line in sys.stdin:
        job = Job.model_validate_json(line)
        try:
            answer = compile_job(job)
        except Exception as error:
            traceback.print_exc()
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            answer = Compilation(effort=job.effort, failure=Failure(kind="compiler", reason=reason))
        print(answer.model_dump_json(), file=answers, flush=True)


if __name__ == "__main__":
    main()
