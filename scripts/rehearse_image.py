"""Runs each step of the Dockerfile without Docker, then the image as compose.yaml does: `make rehearse`.

The base is a bare Debian of the same release and Python (debootstrap). Steps run in a chroot with a mount
namespace of their own; the result runs as the image's user, on a read-only root, in a network of its own
with a Redis. Needs Linux, root, debootstrap, redis-server and a package index; takes some minutes.
"""

from __future__ import annotations

import argparse
import ctypes
import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = "python3,python3-venv,ca-certificates"  # what python:*-slim brings, as far as we use it
NEVER_IN_AN_IMAGE = ("gcc", "cc", "g++", "make", "ld", "pip", "pip3", "git", "curl")
CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000  # <linux/sched.h>; Python knows unshare from 3.12 on
UP_WITHIN_S = 40.0
SECRET = "rehearsal-of-a-secret-that-is-long-enough-for-all"
WORD = re.compile(r"^([A-Z]+)\s+(.*)$", re.DOTALL)


# Reading


@dataclass
class Stage:
    """One FROM and what follows: instructions in order, as (word, argument)."""

    base: str
    name: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def all(self, word: str) -> list[str]:
        return [argument for found, argument in self.steps if found == word]

    def last(self, word: str) -> str:
        return self.all(word)[-1]


def stages(text: str) -> list[Stage]:
    """The stages of a Dockerfile. Continued lines are joined, comments between them dropped."""
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    found: list[Stage] = []
    for line in re.sub(r"\\\n\s*", " ", lines).splitlines():
        if not (step := WORD.match(line.strip())):
            continue
        word, argument = step.groups()
        if word == "FROM":
            base, _, name = argument.partition(" AS ")
            found.append(Stage(base.strip(), name.strip()))
        else:
            found[-1].steps.append((word, argument))
    return found


def sent(context: Path) -> Iterator[Path]:
    """The files that .dockerignore lets into the build, by relative path. The last rule that fits decides."""
    rules = [line.strip() for line in (context / ".dockerignore").read_text().splitlines()]
    rules = [rule for rule in rules if rule and not rule.startswith("#")]
    for folder, folders, files in os.walk(context):
        here = Path(folder).relative_to(context)
        if here == Path():  # what nothing lets in need not be walked
            folders[:] = [name for name in folders if any(rule.startswith(f"!{name}") for rule in rules)]
        yield from (here / name for name in files if _let_in(here / name, rules))


def _let_in(path: Path, rules: list[str]) -> bool:
    let_in = True
    for rule in rules:
        pattern = rule.removeprefix("!")
        ways = [path, *path.parents][:-1]
        if any(_fits(way, pattern) for way in ways):
            let_in = rule.startswith("!")
    return let_in


def _fits(path: Path, pattern: str) -> bool:
    if pattern.startswith("**/"):
        return fnmatch.fnmatch(path.name, pattern[3:])
    return len(path.parts) == len(Path(pattern).parts) and fnmatch.fnmatch(str(path), pattern)


# Building


class Image:
    """A root folder under construction."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.env = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        self.workdir = "/"
        self.user = "0"

    def apply(self, word: str, argument: str, earlier: Mapping[str, Image]) -> None:
        print(f"  {word} {argument[:110]}", flush=True)
        match word:
            case "ENV":
                pairs = (pair.partition("=") for pair in shlex.split(argument))
                self.env |= {name: value.replace("$PATH", self.env["PATH"]) for name, _, value in pairs}
            case "WORKDIR":
                self.workdir = argument
                (self.root / argument.lstrip("/")).mkdir(parents=True, exist_ok=True)
            case "USER":
                self.user = argument
            case "COPY":
                self._copy(shlex.split(argument), earlier)
            case "RUN":
                done = subprocess.run(self.command(argument), env=self.env | for_downloads(), check=False)
                if done.returncode:
                    sys.exit(f"This step failed with {done.returncode}: {argument}")

    def command(self, line: str) -> list[str]:
        """How a line of shell runs in this root, with /dev and /proc."""
        inside = f"cd {self.workdir} && {line}"
        mounts = f"mount --rbind /dev {self.root}/dev && mount -t proc proc {self.root}/proc"
        enter = shlex.join(["chroot", str(self.root), "/bin/sh", "-c", inside])
        return ["unshare", "--mount", "sh", "-c", f"{mounts} && exec {enter}"]

    def _copy(self, words: list[str], earlier: Mapping[str, Image]) -> None:
        *sources, target = [word for word in words if not word.startswith("--")]
        place = self.root / target.lstrip("/")
        origin = next((w.removeprefix("--from=") for w in words if w.startswith("--from=")), "")
        if origin:
            shutil.copytree(earlier[origin].root / sources[0].lstrip("/"), place, symlinks=True)
            return
        for path in sent(ROOT):
            whole = sources == ["."]
            if whole or str(path) in sources:
                to = place / (path if whole else path.name)
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / path, to)


def for_downloads() -> dict[str, str]:
    """What this machine needs to reach a package index; nothing of it stays in the image."""
    kept = {"PIP_INDEX_URL", "PIP_CERT", "PIP_DEFAULT_TIMEOUT", "PIP_TRUSTED_HOST", "NO_PROXY", "no_proxy"}
    kept |= {f"{scheme}_proxy" for scheme in ("http", "https")} | {"HTTP_PROXY", "HTTPS_PROXY"}
    return {name: os.environ[name] for name in kept if name in os.environ}


def make_base(folder: Path, image: str) -> None:
    """A bare system like that image. Raises SystemExit where it would be another release or Python."""
    release = image.rpartition("-")[2]
    if not (folder / "etc").is_dir():
        run = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", release, str(folder)]
        subprocess.run(run, check=True, stdout=subprocess.DEVNULL)
    wanted = re.findall(r"python:(\d+\.\d+)-", image)[0]
    found = subprocess.run(
        ["chroot", folder, "python3", "--version"], check=True, capture_output=True, text=True
    ).stdout.split()[1]
    if not found.startswith(f"{wanted}."):
        sys.exit(f"{image} has Python {wanted}, but {release} brings {found}.")
    (folder / "usr/local/bin/python").unlink(missing_ok=True)
    (folder / "usr/local/bin/python").symlink_to("/usr/bin/python3")
    cert = os.environ.get("PIP_CERT")
    if cert:
        (folder / cert.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(cert, folder / cert.lstrip("/"))
    shutil.copy("/etc/resolv.conf", folder / "etc/resolv.conf")


def build(base: Path, work: Path) -> tuple[Stage, Image]:
    """The last stage, and its root."""
    built: dict[str, Image] = {}
    for number, stage in enumerate(stages((ROOT / "Dockerfile").read_text())):
        print(f"FROM {stage.base}", flush=True)
        image = Image(work / f"stage{number}")
        subprocess.run(["cp", "-a", "--reflink=auto", base, image.root], check=True)
        for word, argument in stage.steps:
            image.apply(word, argument, built)
        built[stage.name] = image
    return stage, image


# Running


def inside(image: Image, arguments: list[str]) -> list[str]:
    who = f"{image.user}:{image.user}"
    line = f"cd {image.workdir} && exec {shlex.join(arguments)}"
    return ["chroot", f"--userspec={who}", str(image.root), "/bin/sh", "-c", line]


class Trial:
    """The finished image, run. In namespaces of its own, made by `main`."""

    def __init__(self, stage: Stage, image: Image) -> None:
        self.stage, self.image = stage, image
        key = "cmVoZWFyc2FsLW9mLWEta2V5LW9mLTMyLWJ5dGVzISE="
        self.env = image.env | {
            "SECRET_KEY": SECRET,
            "JWT_SIGNING_KEY": SECRET[::-1],
            "FIELD_ENCRYPTION_KEYS": key,
            "ALLOWED_HOSTS": "evalsuite.example,web",
            "BROKER_URL": "redis://127.0.0.1:6379/0",
        }

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = inside(self.image, list(arguments))
        return subprocess.run(command, env=self.env, check=False, capture_output=True, text=True)

    def require(self, what: str, *arguments: str, fails: bool = False) -> None:
        done = self.run(*arguments)
        if bool(done.returncode) is not fails:
            sys.exit(f"NOT SO: {what}\n{done.stdout}{done.stderr}")
        print(f"  {what}", flush=True)

    def all(self) -> None:
        self._is_locked()
        health = self.stage.last("HEALTHCHECK").partition("CMD ")[2]
        self.require("health check fails while nothing serves", "sh", "-c", health, fails=True)
        self.require("migrations apply", "python", "manage.py", "migrate", "--no-input", "-v", "0")
        self.require("settings pass Django's own check", "python", "manage.py", "check", "--deploy")
        worker = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["worker"]["command"]
        programs = {"web": json.loads(self.stage.last("CMD")), "worker": worker}
        redis = subprocess.Popen(["redis-server", "--save", "", "--port", "6379"], stdout=subprocess.DEVNULL)
        running = {
            name: subprocess.Popen(inside(self.image, command), env=self.env)
            for name, command in programs.items()
        }
        try:
            deadline = time.monotonic() + UP_WITHIN_S
            while self.run("sh", "-c", health).returncode and time.monotonic() < deadline:
                time.sleep(0.5)
            self.require("health check passes while the web server serves", "sh", "-c", health)
            time.sleep(5)
            for name, process in running.items():
                if process.poll() is not None:
                    sys.exit(f"NOT SO: {name} runs; it ended with {process.returncode}")
                process.terminate()
                print(f"  {name} ran, and ended by SIGTERM with {process.wait(40)}", flush=True)
        finally:
            for process in (*running.values(), redis):
                process.kill()

    def _is_locked(self) -> None:
        self.require("user is not root", "sh", "-c", 'test "$(id -u)" -ge 1000')
        for place in ("/", "/app", "/venv", "/etc", "/usr/local/bin"):
            self.require(f"{place} takes no file", "touch", f"{place}/x", fails=True)
        tools = " || ".join(f"command -v {tool}" for tool in NEVER_IN_AN_IMAGE)
        self.require("no build tool is there", "sh", "-c", tools, fails=True)
        self.require("no pip is there", "python", "-m", "pip", fails=True)


def in_namespaces(image: Image) -> None:
    """A network of our own, and the root read-only, with the places in memory that compose.yaml gives."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS | CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "no namespaces of our own")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    root = str(image.root)
    mounts = [
        ["--bind", root, root],
        ["-o", "remount,bind,ro", root],
        ["--rbind", "/dev", f"{root}/dev"],
        ["-t", "proc", "proc", f"{root}/proc"],
        ["-t", "tmpfs", "-o", "mode=1777", "tmpfs", str(image.root / "tmp")],
        ["-t", "tmpfs", "-o", "mode=1777", "tmpfs", f"{root}/data"],
    ]
    for arguments in mounts:
        subprocess.run(["mount", *arguments], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--base", type=Path, help="a root of debootstrap; made and kept where it is not there"
    )
    given = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("This needs root, for chroot and mounts.")
    with TemporaryDirectory(prefix="image-") as folder:
        work = Path(folder)
        last = stages((ROOT / "Dockerfile").read_text())[-1]
        base = given.base or work / "base"
        make_base(base, last.base)
        stage, image = build(base, work)
        size = subprocess.run(
            ["du", "-sm", image.root / "venv", image.root / "app"], check=True, capture_output=True, text=True
        )
        print(f"Beside the base, in MB: {' '.join(size.stdout.split())}")
        print("The image runs:", flush=True)
        in_namespaces(image)
        try:
            Trial(stage, image).all()
        finally:
            subprocess.run(["umount", "--recursive", "--lazy", image.root], check=True)
    print("All steps ran. Not shown by this: that Docker itself reads the file and the base image likewise.")


if __name__ == "__main__":
    main()
