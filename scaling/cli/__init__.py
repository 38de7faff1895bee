"""The `scaling` command. Every verb imports what it needs when it is called, so that `--help` answers at once."""

import sys
from typing import NoReturn

from scaling.cli import (  # noqa: F401 -- their verbs register themselves
    checks,
    data,
    evidence,
    fleet,
    predictions,
    preflight,
    runs,
    start,
    studies,
    sweeps,
    watch,
    worlds,
)
from scaling.cli.app import app
from scaling.errors import Exit, ScalingError


def main() -> NoReturn:
    """Run the command; a user's mistake is one line on stderr and exit code 2."""
    from analysis.errors import AnalysisError

    try:
        app()
    except (ScalingError, AnalysisError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(Exit.USAGE)
    sys.exit(Exit.DONE)
