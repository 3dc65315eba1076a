"""Memory in a process that serves or works for days: when it is looked through, and what goes back."""

from __future__ import annotations

import contextlib
import ctypes
import gc

YOUNG = 10_000  # new containers before the young are looked through; Python's own 700 suits scripts
# From malloc.h of glibc.
M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8
MAPPED_FROM = 128 * 1024  # bytes


def load_undisturbed() -> None:
    """Code stays: to look through it again and again while more is loaded takes a tenth of a start."""
    gc.disable()


def loaded() -> None:
    gc.freeze()
    gc.set_threshold(YOUNG, 20, 20)
    gc.enable()


def settle() -> None:
    """Call once all code is loaded: what is there now stays for good and is never looked through again.

    A full collection over Django's own objects holds up every thread for about 100 ms, in the middle of a
    plan or of a stream. In a parent that forks, it also keeps pages shared with the children.
    """
    gc.collect()
    gc.freeze()


def give_back_freed() -> None:
    """Keep large blocks apart, and threads in few arenas. Elsewhere than under glibc it does nothing.

    Otherwise the first large block that is freed makes glibc take later ones from the arenas of their
    threads, where they stay: many threads with a megabyte each cost several times that, for ever.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_ARENA_MAX, 2)
        mallopt(M_MMAP_THRESHOLD, MAPPED_FROM)
