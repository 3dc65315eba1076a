"""First on the path of a process under libfaketime, which calls a sleep that is over already an error.

The system itself returns at once, and so does this.
"""

import errno
import time

_sleep = time.sleep


def _sleep_or_go_on(seconds: float) -> None:
    try:
        _sleep(seconds)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise


time.sleep = _sleep_or_go_on
