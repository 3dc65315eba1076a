"""`manage.py run_experiment` as tests call it."""

from __future__ import annotations

import io
from types import SimpleNamespace

from django.core.management import CommandError, call_command


def run_experiment(*arguments):
    """The exit status, and what was printed to both sides."""
    out, err = io.StringIO(), io.StringIO()
    try:
        call_command("run_experiment", *map(str, arguments), stdout=out, stderr=err)
        status = 0
    except CommandError as error:
        status = error.returncode
        err.write(str(error))
    except SystemExit as exit_:
        status = exit_.code
    return SimpleNamespace(status=status, out=out.getvalue(), err=err.getvalue())
