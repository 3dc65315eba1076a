"""A process that calls, forks, and calls again in its child: its exit status tells how that call ended.

By itself, since the process of the tests has threads and connections of its own that no worker has.
"""

from __future__ import annotations

import os
import sys

import tests.environment  # noqa: F401 - before Django reads it


def main(url: str) -> int:
    """0 where the child's call ended by its limit."""
    import django

    django.setup()
    from llm_routing.errors import ProviderTimeout
    from llm_routing.providers.transport import Transport
    from llm_routing.types import Limits
    from tests.llm_routing.calling import LONG, read_all

    read_all(Transport(url), LONG)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            read_all(Transport(url), Limits(first_token_s=0.3))
        except ProviderTimeout:
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "evalsuite.settings")
    sys.exit(main(sys.argv[1]))
