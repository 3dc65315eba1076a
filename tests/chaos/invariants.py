"""What must hold at every moment, whatever was killed: asked of the database by plain SQL.

All questions of one check are put to one snapshot, so that work which goes on meanwhile does not blur them.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections import Counter
from collections.abc import Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

CLOSED = ("succeeded", "failed", "cancelled")
LOST = "WORKER_LOST"  # the sweeper's own verdict: no work closed such a cell
MOST_SHOWN = 5


class Rows:
    """Reads an installation's database, PostgreSQL or SQLite, beside the product."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.is_sqlite = url.startswith("sqlite")

    @contextmanager
    def snapshot(self):
        """A function that asks: `%s` for parameters, a list of tuples for an answer."""
        if self.is_sqlite:
            path = self._url.removeprefix("sqlite:///")
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=20)) as connection:
                connection.isolation_level = None
                connection.execute("BEGIN")
                yield lambda sql, *given: connection.execute(sql.replace("%s", "?"), given).fetchall()
        else:
            with psycopg.connect(self._url, connect_timeout=3) as connection:
                connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
                yield lambda sql, *given: connection.execute(sql, given or None).fetchall()

    def ask(self, sql: str, *given: Any) -> list[tuple]:
        with self.snapshot() as ask:
            return ask(sql, *given)

    def one(self, sql: str, *given: Any) -> Any:
        return self.ask(sql, *given)[0][0]

    def states(self, batch: str | None = None) -> Counter[str]:
        """Cells by state, of one batch or of all."""
        sql = "SELECT state, COUNT(*) FROM experiments_experimentrun"
        if batch is None:
            return Counter(dict(self.ask(f"{sql} GROUP BY state")))
        return Counter(dict(self.ask(f"{sql} WHERE batch_id = %s GROUP BY state", self.key(batch))))

    def closed(self, batch: str | None = None) -> int:
        states = self.states(batch)
        return sum(states[state] for state in CLOSED)

    def finished(self, batch: str) -> bool:
        sql = "SELECT COUNT(*) FROM experiments_batch WHERE id = %s AND finished_at IS NOT NULL"
        return bool(self.one(sql, self.key(batch)))

    def key(self, uuid: str) -> str:
        """An id as this database holds it."""
        return uuid.replace("-", "") if self.is_sqlite else uuid

    def moment(self, when: datetime) -> Any:
        """A time as this database holds it."""
        return when.strftime("%Y-%m-%d %H:%M:%S.%f") if self.is_sqlite else when


@dataclass
class Figures:
    """What a check has counted of one batch."""

    states: Counter[str]  # cells by state
    attempts: Counter[str]  # by outcome; "" is in the air
    ledger: int
    provider_calls: int

    @property
    def cells(self) -> int:
        return self.states.total()

    def __str__(self) -> str:
        states = ", ".join(f"{number} {state}" for state, number in sorted(self.states.items()))
        outcomes = ", ".join(f"{number} {name or 'open'}" for name, number in sorted(self.attempts.items()))
        return (
            f"{self.cells} cells ({states}); {sum(self.attempts.values())} attempts ({outcomes}); "
            f"{self.ledger} in the ledger; {self.provider_calls} calls at the provider"
        )


class Invariants:
    """Checks again and again, and remembers closed cells: what is closed stays as it is."""

    def __init__(self, rows: Rows, *, overdue_s: float) -> None:
        """`overdue_s`: how long after the end of its lease a cell may still be running."""
        self._rows = rows
        self._overdue_s = overdue_s
        self._closed: dict[Any, str] = {}
        self.checks = 0

    def check(
        self, calls: Mapping[str, int], *, batch: str, swept: bool = True, ended: bool = False
    ) -> Figures:
        """The figures of a batch. Raises AssertionError with all that is broken, in any batch.

        `calls` (at the provider, by prompt) was read before. `swept`: somebody was there to sweep in the
        last seconds. `ended`: all batches should be finished.
        """
        calls = dict(calls)  # before the snapshot: attempts are written before their call is made
        cutoff = datetime.now(UTC) - timedelta(seconds=self._overdue_s)
        with self._rows.snapshot() as ask:
            self._ask = ask
            broken = [
                *self._batches(ended=ended),
                *self._attempts(),
                *self._ledger(ended=ended),
                *self._calls(calls),
                *self._closed_cells(),
                *self._audit(),
                *self._counted(),
            ]
            if swept:
                overdue = ask(
                    "SELECT id, lease_until FROM experiments_experimentrun"
                    " WHERE state = 'running' AND lease_until < %s",
                    self._rows.moment(cutoff),
                )
                broken += _told("running long after the end of its lease", overdue)
            figures = self._figures(batch, calls)
        self.checks += 1
        assert not broken, "\n".join([*broken, str(figures)])
        return figures

    def _batches(self, *, ended: bool) -> list[str]:
        rows = self._ask(
            "SELECT b.id, b.state, b.total, b.finished_at IS NOT NULL, COUNT(r.id),"
            " SUM(CASE WHEN r.state IN ('queued', 'running') THEN 1 ELSE 0 END)"
            " FROM experiments_batch b LEFT JOIN experiments_experimentrun r ON r.batch_id = b.id"
            " GROUP BY b.id, b.state, b.total, b.finished_at"
        )
        broken = _told("batch with another number of cells than planned", [r for r in rows if r[4] != r[2]])
        broken += _told("batch ended with open cells", [r for r in rows if r[3] and r[5]])
        told = [r for r in rows if (r[1] == "finished") and not r[3]]
        broken += _told("batch finished without a time", told)
        if ended:
            broken += _told("batch not ended though all is over", [r for r in rows if not r[3]])
        return broken

    def _attempts(self) -> list[str]:
        twice = self._ask(
            "SELECT run_id, COUNT(*) FROM experiments_runattempt WHERE outcome = 'succeeded'"
            " GROUP BY run_id HAVING COUNT(*) > 1"
        )
        unproven = self._ask(
            "SELECT r.id, r.attempt, a.outcome FROM experiments_experimentrun r"
            " LEFT JOIN experiments_runattempt a ON a.run_id = r.id AND a.number = r.attempt"
            " WHERE r.state = 'succeeded' AND r.cached_from_id IS NULL"
            " AND (a.outcome IS NULL OR a.outcome <> 'succeeded')"
        )
        unclosed = self._ask(
            "SELECT a.run_id, a.number, r.state FROM experiments_runattempt a"
            " JOIN experiments_experimentrun r ON r.id = a.run_id"
            " WHERE a.outcome = 'succeeded' AND r.state <> 'succeeded'"
        )
        return [
            *_told("cell recorded twice", twice),
            *_told("cell succeeded without its last attempt", unproven),
            *_told("attempt recorded but its cell is not", unclosed),
        ]

    def _ledger(self, *, ended: bool) -> list[str]:
        # A row that only reserves room is not a call that was counted.
        state = "AND u.state <> 'reserved'" if self._has_column("quotas_usagerecord", "state") else ""
        unpaid = self._ask(
            "SELECT a.id FROM experiments_runattempt a"
            f" LEFT JOIN quotas_usagerecord u ON u.attempt = a.id {state}"
            " WHERE a.outcome = 'succeeded' AND u.id IS NULL"
        )
        unearned = self._ask(
            "SELECT u.attempt, a.outcome FROM quotas_usagerecord u"
            " LEFT JOIN experiments_runattempt a ON a.id = u.attempt"
            f" WHERE u.kind = 'experiment' {state} AND (a.outcome IS NULL OR a.outcome <> 'succeeded')"
        )
        broken = [
            *_told("recorded attempt that is not in the ledger", unpaid),
            *_told("row of the ledger without a recorded attempt", unearned),
        ]
        if ended:  # until then a counter holds what is reserved as well
            where = state.replace("AND", "WHERE")
            sums = self._ask(
                "SELECT COUNT(*), COALESCE(SUM(COALESCE(input_tokens, 0) + COALESCE(output_tokens, 0)), 0)"
                f" FROM quotas_usagerecord u {where}"
            )[0]
            counters = self._ask(
                "SELECT COALESCE(SUM(calls), 0), COALESCE(SUM(tokens), 0) FROM quotas_usagecounter"
            )[0]
            if tuple(map(int, sums)) != tuple(map(int, counters)):
                broken.append(f"the ledger's sum {sums} is not the counter's {counters}")
            for table in ("quotas_usagesum", "quotas_experimentusage"):
                kept = self._ask(
                    "SELECT COALESCE(SUM(calls), 0), COALESCE(SUM(input_tokens + output_tokens), 0)"
                    f" FROM {table}"
                )[0]
                if tuple(map(int, sums)) != tuple(map(int, kept)):
                    broken.append(f"the ledger's sum {sums} is not that of {table} {kept}")
        return broken

    def _has_column(self, table: str, column: str) -> bool:
        if self._rows.is_sqlite:
            found = self._ask("SELECT 1 FROM pragma_table_info(%s) WHERE name = %s", table, column)
        else:
            found = self._ask(
                "SELECT 1 FROM information_schema.columns WHERE table_name = %s AND column_name = %s",
                table,
                column,
            )
        return bool(found)

    def _calls(self, calls: Mapping[str, int]) -> list[str]:
        """Each call that reached the provider was written down as an attempt before it was made."""
        attempts = dict(
            self._ask(
                "SELECT i.content, COUNT(*) FROM experiments_runattempt a"
                " JOIN experiments_experimentrun r ON r.id = a.run_id"
                " JOIN experiments_experimentinput i ON i.id = r.input_id GROUP BY i.content"
            )
        )
        over = [(prompt, made, attempts.get(prompt, 0)) for prompt, made in calls.items()]
        return _told("more calls than attempts", [row for row in over if row[1] > row[2]])

    def _closed_cells(self) -> list[str]:
        rows = self._ask(
            "SELECT id, state, attempt, crashes, output, error_code, error_message, latency_ms, finished_at"
            " FROM experiments_experimentrun WHERE state IN ('succeeded', 'failed', 'cancelled')"
        )
        now = {row[0]: hashlib.sha256(repr(row).encode()).hexdigest() for row in rows}
        changed = [(key,) for key, seen in self._closed.items() if now.get(key) != seen]
        self._closed = now
        return _told("closed cell that changed", changed)

    def _audit(self) -> list[str]:
        told = Counter(
            row[0].replace("-", "")
            for row in self._ask(
                "SELECT object_id FROM audit_auditevent WHERE event = 'experiment.run.completed'"
            )
        )
        cells = {
            str(row[0]).replace("-", ""): row[1:]
            for row in self._ask("SELECT id, state, error_code, attempt FROM experiments_experimentrun")
        }
        by_work = {
            key
            for key, (state, error, attempt) in cells.items()
            if state == "succeeded" or (state == "failed" and attempt and error != LOST)
        }
        twice = [(key, number) for key, number in told.items() if number > 1]
        early = [(key, *cells.get(key, ())) for key in told if cells.get(key, ("",))[0] not in CLOSED]
        return [
            *_told("cell whose end is in the audit log twice", twice),
            *_told("cell in the audit log that has not ended", early),
            *_told("ended cell that is not in the audit log", [(key,) for key in by_work - set(told)]),
        ]

    def _counted(self) -> list[str]:
        """What Prometheus is told: each cell that ended with a result, and each lost call, exactly once."""
        told: Counter[str] = Counter()
        for key, numbers in self._ask("SELECT key, numbers FROM metrics_total"):
            told[json.loads(key)[0]] += (json.loads(numbers) if isinstance(numbers, str) else numbers)[0]
        for (text,) in self._ask("SELECT text FROM metrics_change"):
            for name, _, numbers in json.loads(text)[0]:
                told[name] += numbers[0]
        [(ended,)] = self._ask(
            "SELECT COUNT(*) FROM experiments_experimentrun WHERE state IN ('succeeded', 'failed')"
        )
        [(lost,)] = self._ask("SELECT COUNT(*) FROM experiments_runattempt WHERE outcome = 'lost'")
        wanted = {"experiment_runs_total": ended, "experiment_attempts_lost_total": lost}
        wrong = [(name, told[name], number) for name, number in wanted.items() if told[name] != number]
        return _told("metric, what it says, and what is so", wrong)

    def _figures(self, batch: str, calls: Mapping[str, int]) -> Figures:
        key = self._rows.key(batch)
        states = self._ask(
            "SELECT state, COUNT(*) FROM experiments_experimentrun WHERE batch_id = %s GROUP BY state", key
        )
        attempts = "experiments_runattempt a JOIN experiments_experimentrun r ON r.id = a.run_id"
        outcomes = self._ask(
            f"SELECT a.outcome, COUNT(*) FROM {attempts} WHERE r.batch_id = %s GROUP BY a.outcome", key
        )
        ledger = self._ask(
            f"SELECT COUNT(*) FROM {attempts} JOIN quotas_usagerecord u ON u.attempt = a.id"
            " WHERE r.batch_id = %s",
            key,
        )
        return Figures(Counter(dict(states)), Counter(dict(outcomes)), ledger[0][0], sum(calls.values()))


def _told(what: str, rows: list[tuple]) -> list[str]:
    if not rows:
        return []
    return [f"{len(rows)} x {what}: {rows[:MOST_SHOWN]}"]
