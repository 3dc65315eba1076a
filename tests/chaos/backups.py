"""A dump taken while a batch runs, restored elsewhere, where it goes on, as docs/operations.md tells."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.chaos.installation import Installation
from tests.chaos.parts import postgres_bin
from tests.chaos.provider import FastOllama
from tests.chaos.scenarios import Report, Scene, installation

SHARE = 0.3  # of the cells are closed when the dump begins


def restored(*, embedded: bool, cells: int = 200) -> Report:
    """The first installation is dumped in the middle and dies; the second one begins with the dump alone."""
    with installation(embedded=embedded, slots=16) as (first, provider):
        with Scene(first, provider, "before the dump", delay_s=0.15) as scene:
            if not embedded:
                scene.add_worker()
            batch = scene.run(scene.prompts(cells))
            scene.until_share(batch, SHARE)
            closed = first.rows.closed(batch)
            dump = _dump(first)
            assert not first.rows.finished(batch), "the batch was over before its dump"
            scene.report.say(f"dumped {dump.stat().st_size // 1024} KB while {closed} cells were closed")
        first.web.end()
        with Installation(provider_url=provider.url, embedded=embedded) as second:
            _restore(second, dump)
            second.ids = first.ids
            return _go_on(second, provider, batch, closed, cells)


def _go_on(made: Installation, provider: FastOllama, batch: str, closed: int, cells: int) -> Report:
    with Scene(made, provider, "after the dump", delay_s=0.05) as scene:
        before = scene.check("as it was dumped", batch, swept=False)
        assert closed <= made.rows.closed(batch) < cells
        assert before.attempts[""] > 0, "no call was in the air when it was dumped"
        made.start_web()
        made.sign_in()
        if not made.embedded:
            scene.add_worker()
        scene.until_finished(batch)
        # Also: no cell that was closed in the dump has changed.
        figures = scene.check("finished", batch, ended=True)
        assert figures.states == {"succeeded": cells}
        assert figures.provider_calls == cells - before.states["succeeded"]
        assert made.batch(batch)["state"] == "finished"
        return scene.report


def _dump(made: Installation) -> Path:
    dump = made.folder / "evalsuite.dump"
    if made.embedded:
        _run("sqlite3", made.database_file, f".backup {dump}")
    else:
        _run(_postgres("pg_dump"), "--format=custom", f"--file={dump}", made.postgres.url)
    return dump


def _restore(made: Installation, dump: Path) -> None:
    if made.embedded:
        made.database_file.write_bytes(dump.read_bytes())
    else:
        given = ["--exit-on-error", "--no-owner", f"--dbname={made.postgres.url}"]
        _run(_postgres("pg_restore"), *given, dump)


def _postgres(program: str) -> Path:
    folder = postgres_bin()
    assert folder is not None
    return folder / program


def _run(*command: object) -> None:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
