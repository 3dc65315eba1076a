"""Ids and times of rows that are said to have been written long ago, as text that both databases take."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import count
from random import Random

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
COUNTED_BITS = 26  # 12 before the variant and 14 behind it: more rows than one millisecond ever has
VERSION, VARIANT = 7 << 76, 2 << 62


class Ids:
    """UUIDs of version 7 for moments of the past, rising within each millisecond, from a seeded source."""

    def __init__(self, chance: Random) -> None:
        self._bits = chance.getrandbits
        self._numbers = count()

    def at(self, ms: int) -> str:
        """An id as it was made so many milliseconds after 1970: 32 hexadecimal digits."""
        number = next(self._numbers) & ((1 << COUNTED_BITS) - 1)
        counted = (number >> 14) << 64 | (number & 0x3FFF) << 48
        return f"{ms << 80 | VERSION | VARIANT | counted | self._bits(48):032x}"


def dashed(pk: str) -> str:
    """As `str` of a UUID has it."""
    return f"{pk[:8]}-{pk[8:12]}-{pk[12:16]}-{pk[16:20]}-{pk[20:]}"


def stamp(ms: int) -> str:
    """A column for times, in UTC."""
    second, rest = divmod(ms, 1000)
    return f"{_second(second)}.{rest:03d}000"


def day_of(ms: int) -> str:
    return _second(ms // 1000)[:10]


@lru_cache(maxsize=4096)
def _second(second: int) -> str:
    return (EPOCH + timedelta(seconds=second)).strftime("%Y-%m-%d %H:%M:%S")
