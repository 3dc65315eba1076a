"""Pictures of the console for the README and for looking at, in docs/img: light, dark, and on a phone.

    screenshots.py                                       starts the product on a scratch folder
    screenshots.py --url http://... --username admin     uses one that runs; asks for the password, or
                                                         takes it from EVALSUITE_PASSWORD

Needs Chromium. The scratch product runs its sample experiment on the embedded model.
"""

from __future__ import annotations

import argparse
import base64
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from getpass import getpass
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Browser, Page, expect, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
FLAGS = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--no-first-run"]
DESKTOP = {"width": 1280, "height": 1000}
WIDE = {"width": 1920, "height": 1080}
PHONE = {"width": 390, "height": 844}
LOOKS = {
    "light": ("light", DESKTOP),
    "dark": ("dark", DESKTOP),
    "wide": ("light", WIDE),
    "phone": ("light", PHONE),
}
PROMPT = "Write two sentences about a lighthouse in the fog."
STOP_LIMIT_S = 10


@dataclass(frozen=True, slots=True)
class Site:
    url: str
    username: str
    password: str


@contextmanager
def scratch_product() -> Iterator[Site]:
    """`manage.py serve` on an empty folder, with secrets of its own and no Ollama."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with TemporaryDirectory(prefix="evalsuite-") as folder:
        command = [sys.executable, "-u", "manage.py", "serve", "--port", str(port)]
        process = subprocess.Popen(
            command, cwd=ROOT, env=scratch_environment(folder), stdout=subprocess.PIPE, text=True
        )
        try:
            yield Site(f"http://127.0.0.1:{port}", "admin", wait_for_password(process))
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def scratch_environment(folder: str) -> dict[str, str]:
    return {
        **os.environ,
        "DEBUG": "0",
        "HTTPS": "0",
        "DATA_DIR": folder,
        "DATABASE_URL": f"sqlite:///{folder}/evalsuite.sqlite3",
        "STATIC_ROOT": f"{folder}/static",
        "STATICFILES_STORAGE": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage",
        "BROKER_URL": "memory://",
        "SECRET_KEY": secrets.token_urlsafe(48),
        "JWT_SIGNING_KEY": secrets.token_urlsafe(48),
        "FIELD_ENCRYPTION_KEYS": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "OLLAMA_URL": "http://127.0.0.1:9",
        "LOG_LEVEL": "WARNING",
    }


def wait_for_password(process: subprocess.Popen[str]) -> str:
    """Pass on what the product says until it is up; the password stays here."""
    password = ""
    for line in process.stdout or ():
        if found := re.search(r"with the password (\S+)", line):
            password = found[1]
            continue
        print(line, end="", flush=True)
        if "Ctrl-C" in line and password:
            return password
    sys.exit("The product did not start; the lines above say why.")


def sign_in(page: Page, site: Site) -> None:
    page.goto(f"{site.url}/login")
    page.get_by_label("User name").fill(site.username)
    page.get_by_label("Password").fill(site.password)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url("**/app/**")


def find_pages(page: Page, site: Site) -> dict[str, str]:
    """Addresses by the name of the picture, as far as there is something to show."""
    found = {"playground": page.url}
    page.goto(page.url.rpartition("/")[0] + "/experiments")
    found["experiments"] = page.url
    if page.locator(".list-item").count():
        page.locator(".list-item").first.click()
        page.wait_for_load_state("load")
        found["experiment"] = page.url
    if page.locator("[data-cell]").count():
        found["import"] = f"{page.url}/import"
        found["comparison"] = comparison(page)
        found["charts"] = f"{page.url}?view=charts"
        cell = page.locator("[data-cell]").first
        found["cell"] = f"{page.url}?cell={cell.get_attribute('data-cell')}"
    return {**found, "admin": f"{site.url}/admin/", "api": f"{site.url}/api/v1/docs"}


def comparison(page: Page) -> str:
    """The first variant against the last."""
    experiment = page.url
    page.goto(f"{experiment}/comparison")
    page.locator("#compare-candidate").select_option(
        index=page.locator("#compare-candidate option").count() - 1
    )
    page.wait_for_url("**candidate=*")
    address = page.url
    page.goto(experiment)
    return address


def take(page: Page, folder: Path, name: str) -> None:
    page.wait_for_load_state("networkidle")
    file = folder / f"{name}.png"
    page.screenshot(path=file)
    print(file.relative_to(ROOT) if file.is_relative_to(ROOT) else file, flush=True)


def try_a_prompt(page: Page) -> None:
    page.get_by_label("Write a prompt").fill(PROMPT)
    page.get_by_label("Max tokens (optional)").fill("60")
    page.get_by_role("button", name="Run").click()
    expect(page.locator("#latency")).to_contain_text("ms", timeout=60_000)


def take_all(browser: Browser, site: Site, folder: Path) -> None:
    for look, (scheme, viewport) in LOOKS.items():
        context = browser.new_context(
            color_scheme=scheme,  # type: ignore[arg-type]
            viewport=viewport,  # type: ignore[arg-type]
            device_scale_factor=2 if look == "phone" else 1,
            reduced_motion="reduce",
        )
        page = context.new_page()
        page.goto(f"{site.url}/login")
        take(page, folder, f"login-{look}")
        sign_in(page, site)
        for name, url in find_pages(page, site).items():
            page.goto(url)
            if name == "playground":
                try_a_prompt(page)
            take(page, folder, f"{name}-{look}")
        context.close()


def chromium() -> str:
    names = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    return found or sys.exit("Chromium is missing: install it, on Debian with `apt install chromium`.")


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the pictures of the console.")
    parser.add_argument("--url", help="of a product that runs; without it one is started")
    parser.add_argument("--username", default="admin")
    parser.add_argument("--folder", type=Path, default=ROOT / "docs/img")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        if given.url:
            password = os.environ.get("EVALSUITE_PASSWORD") or getpass(f"Password of {given.username}: ")
            take_all(browser, Site(given.url.rstrip("/"), given.username, password), given.folder)
        else:
            with scratch_product() as site:
                take_all(browser, site, given.folder)
        browser.close()


if __name__ == "__main__":
    main()
