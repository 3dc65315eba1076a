"""How long a large test set takes on its way into the product, and how much memory: preview, import, export.

Run: .venv/bin/python -m benchmarks.importing [--rows 100000] [--kind csv jsonl xlsx] [--words 30]

`manage.py serve` on SQLite with production settings; the file goes through the console's own pages.
Printed for each kind: the file's size, seconds until the preview answers, until the import has answered,
until the export was taken; what the serving process held before, and the most it held until the end of each.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import re
import time
from collections.abc import Iterator

from benchmarks.engine import Site, product, provider
from experiments.datasets import spreadsheets

WORDS = ["a", "model", "answers", "every", "question", "that", "it", "is", "asked", "and", "some", "more"]
KINDS = ["csv", "jsonl", "xlsx"]
HEADERS = ("key", "content", "expected", "metadata.topic")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--kind", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--words", type=int, default=30, help="of each content")
    given = parser.parse_args()
    print("kind   rows      file MB  preview s  import s  export s  MB idle  preview  import  export")
    for kind in given.kind:
        data = file_of(kind, given.rows, given.words)
        with provider(0) as url, product("embedded", url, 1) as site:
            measure(site, kind, data, given.rows)


def measure(site: Site, kind: str, data: bytes, rows: int) -> None:
    experiment = site.call("POST", f"/orgs/{site.org}/experiments", name="large")["experiment"]
    page = f"{site.url}/app/orgs/{site.org}/experiments/{experiment['id']}"
    token = site.session.headers.pop("Authorization")  # the pages know the session of a browser
    login = site.session.get(f"{site.url}/login", timeout=30)
    form = {"username": "admin", "password": site.password, "csrfmiddlewaretoken": hidden(login.text)}
    site.session.post(f"{site.url}/login", data=form, timeout=30).raise_for_status()
    idle = site.peak_rss_mb()
    begin = time.monotonic()
    csrf = {"csrfmiddlewaretoken": hidden(site.session.get(f"{page}/import", timeout=30).text)}
    files = {"file": (f"inputs.{kind}", data)}
    preview = site.session.post(f"{page}/import", data=csrf, files=files, timeout=300)
    previewed, peaks = time.monotonic() - begin, [idle, site.peak_rss_mb()]
    ticket = hidden(preview.text, "ticket")
    begin = time.monotonic()
    body = {**csrf, "ticket": ticket, "import": "1"}
    site.session.post(f"{page}/import", data=body, allow_redirects=False, timeout=300).raise_for_status()
    imported = time.monotonic() - begin
    peaks.append(site.peak_rss_mb())
    begin = time.monotonic()
    exported = site.session.get(f"{page}/export/inputs/{kind}", timeout=300)
    exported.raise_for_status()
    taken = time.monotonic() - begin
    site.session.headers["Authorization"] = token
    found = site.call("GET", f"/orgs/{site.org}/experiments/{experiment['id']}?nested=false")["experiment"]
    if found["inputCount"] != rows:
        raise SystemExit(f"{found['inputCount']:,} of {rows:,} inputs are there:\n{preview.text[:2000]}")
    peaks.append(site.peak_rss_mb())
    print(
        f"{kind:5}  {rows:8,}  {len(data) / 1e6:7.1f}  {previewed:9.1f}  {imported:8.1f}  {taken:8.1f}"
        f"  {'  '.join(f'{peak:7.0f}' for peak in peaks)}",
        flush=True,
    )


def hidden(page: str, name: str = "csrfmiddlewaretoken") -> str:
    found = re.search(rf'name="{name}" value="([^"]+)"', page)
    if found is None:
        raise SystemExit(f"the page has no {name}:\n{page[:4000]}")
    return found[1]


def table(rows: int, words: int) -> Iterator[tuple[str, ...]]:
    chance = random.Random(1)
    for number in range(rows):
        content = " ".join(chance.choices(WORDS, k=words))
        yield f"row_{number}", content, chance.choice(WORDS), chance.choice(WORDS)


def file_of(kind: str, rows: int, words: int) -> bytes:
    if kind == "xlsx":
        return spreadsheets.written("inputs", HEADERS, table(rows, words))
    out = io.StringIO()
    if kind == "csv":
        out.write(",".join(HEADERS) + "\n")
        out.writelines(",".join(row) + "\n" for row in table(rows, words))
    else:
        names = ("key", "content", "expected", "topic")
        out.writelines(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in table(rows, words))
    return out.getvalue().encode()


if __name__ == "__main__":
    main()
