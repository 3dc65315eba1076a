"""A whole installation in one process: static files, the models of this machine, worker and web server."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import IO

import requests
import uvicorn
from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.core.management import call_command
from django.db import transaction

from evalsuite.audit.services import record
from evalsuite.http import BoundedHeads
from experiments.worker import EmbeddedWorker
from llm_routing import registry
from llm_routing.embedded import SLOTS, EmbeddedModelMissing, EmbeddedServer
from llm_routing.errors import ProviderError
from llm_routing.models import Endpoint, Provider, RegisteredModel

log = logging.getLogger(__name__)

OLLAMA = "ollama"
EMBEDDED = "embedded"
ANSWERS_WITHIN_S = 1.0
STREAMS_MAY_GO_ON_S = 1
CALLS_MAY_GO_ON_S = 1.0
STOP_LIMIT_S = 4.0


class AlreadyServing(Exception):
    """Another process works on this installation's in-memory queue."""


@contextmanager
def only_process() -> Iterator[None]:
    """Hold the installation. A queue in memory has one process; with a broker there may be many.

    Raises AlreadyServing. The lock goes with the process, however it ends.
    """
    settings.DATA_DIR.mkdir(parents=True, exist_ok=True)
    if not settings.EMBEDDED_BROKER:
        yield
        return
    with (settings.DATA_DIR / "serve.lock").open("a") as file:
        _lock(file)
        yield


def _lock(file: IO[str]) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise AlreadyServing(
            f"Evalsuite is running already on {settings.DATA_DIR}: stop it first, "
            "or set BROKER_URL to a Redis server to use several processes."
        ) from None


# Static files


def collect_static(say: Callable[[str], object]) -> bool:
    """Copy and hash the static files, where they changed since the last time. True where they did."""
    if settings.WHITENOISE_USE_FINDERS:  # served from where they are
        return False
    stamp = Path(settings.STATIC_ROOT) / ".collected"
    now = _static_state()
    if stamp.is_file() and stamp.read_text() == now:
        return False
    say("Preparing the static files ...")
    stamp.unlink(missing_ok=True)
    call_command("collectstatic", interactive=False, clear=True, verbosity=0)
    stamp.write_text(now)
    return True


def _static_state() -> str:
    """Changes whenever a static file does."""
    state = hashlib.sha256(str(settings.STORAGES["staticfiles"]).encode())
    for finder in get_finders():
        for name, storage in finder.list([]):
            facts = os.stat(storage.path(name))
            state.update(f"{name} {facts.st_size} {facts.st_mtime_ns}\n".encode())
    return state.hexdigest()


# Models of this machine


def ollama_answers() -> bool:
    session = requests.Session()
    session.trust_env = False
    try:
        answer = session.get(f"{settings.OLLAMA_URL.rstrip('/')}/api/version", timeout=ANSWERS_WITHIN_S)
    except requests.RequestException:
        return False
    return answer.ok


def use_ollama() -> list[RegisteredModel]:
    """Register what Ollama offers. Empty: nothing that could complete a text, or it does not answer."""
    provider = _shared_provider(
        OLLAMA, settings.OLLAMA_URL.rstrip("/"), name="Ollama", kind=Provider.Kind.OLLAMA
    )
    try:
        models = _synchronised(provider)
    except ProviderError as error:
        log.warning("the models of Ollama could not be listed: %s", error)
        return []
    return [model for model in models if not model.capabilities or "completion" in model.capabilities]


def use_embedded(base_url: str, *, slots: int = SLOTS) -> list[RegisteredModel]:
    provider = _shared_provider(
        EMBEDDED,
        base_url,
        slots=slots,
        name="Embedded (a toy)",
        kind=Provider.Kind.OPENAI_COMPATIBLE,
        is_toy=True,
    )
    return _synchronised(provider)


@transaction.atomic
def _shared_provider(slug: str, base_url: str, *, slots: int | None = None, **facts: object) -> Provider:
    """The operator's provider of that name, with one endpoint, at this address from now on."""
    provider, _ = Provider.objects.get_or_create(org=None, slug=slug, defaults=facts)
    endpoint = Endpoint.objects.filter(provider=provider).first() or Endpoint(provider=provider)
    if provider.api_key and endpoint.base_url != base_url:  # it was entered for another server
        provider.api_key = ""
        provider.save(update_fields=["api_key"])
        record("provider.updated", org=None, actor=None, subject=provider, after={"hasApiKey": False})
    endpoint.base_url = base_url
    endpoint.slots = slots or endpoint.slots
    endpoint.save()
    return provider


def _synchronised(provider: Provider) -> list[RegisteredModel]:
    registry.sync_provider(provider)
    return list(RegisteredModel.objects.filter(provider=provider, available=True))


def embedded_is_away() -> None:
    """Nobody can be answered by the embedded model now."""
    RegisteredModel.objects.filter(provider__org=None, provider__slug=EMBEDDED).update(available=False)


@contextmanager
def embedded_model() -> Iterator[list[RegisteredModel]]:
    """The embedded model: the one at EMBEDDED_URL, or a child process for as long as the context.

    Raises EmbeddedModelMissing.
    """
    if settings.EMBEDDED_URL:
        yield use_embedded(settings.EMBEDDED_URL.rstrip("/"))
        return
    with EmbeddedServer() as server:
        yield use_embedded(server.base_url, slots=server.slots)


@contextmanager
def models_of_this_machine(say: Callable[[str], object]) -> Iterator[list[RegisteredModel]]:
    """Ollama's where it answers, otherwise the embedded one; none where neither can be had."""
    with ExitStack() as stack:
        models: list[RegisteredModel] = []
        if ollama_answers():
            models = use_ollama()
            say(f"Ollama at {settings.OLLAMA_URL} offers {len(models)} models.")
        if models:
            embedded_is_away()
        else:
            try:
                models = stack.enter_context(embedded_model())
                say(f"The embedded model answers: {', '.join(model.name for model in models)} (a toy).")
            except (EmbeddedModelMissing, ProviderError) as missing:
                embedded_is_away()
                say(f"There is no model yet. {missing}")
        yield models


# The server


@contextmanager
def worker() -> Iterator[Callable[[], None]]:
    """The worker inside this process; with a broker, workers are separate processes.

    Yields what makes it begin to end, for whoever learns first that all is to end.
    """
    if not settings.EMBEDDED_BROKER:
        yield lambda: None
        return
    running = EmbeddedWorker()
    running.start()
    stopper = threading.Thread(target=running.stop, kwargs={"grace_s": CALLS_MAY_GO_ON_S}, daemon=True)

    def begin_to_end() -> None:
        if stopper.ident is None:
            stopper.start()

    try:
        yield begin_to_end
    finally:
        begin_to_end()
        stopper.join()


class Server(uvicorn.Server):
    """Tells when it is up, and when it is told to end."""

    def __init__(
        self, config: uvicorn.Config, *, when_up: Callable[[], object], when_told_to_end: Callable[[], object]
    ) -> None:
        super().__init__(config)
        self._when_up = when_up
        self._when_told_to_end = when_told_to_end

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started:
            self._when_up()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._when_told_to_end()
        end_for_certain()
        # It would tell of every stream that it cuts off as of an error in the application.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        super().handle_exit(sig, frame)


def end_for_certain() -> None:
    """Whatever hangs: this process is gone in time, and the embedded model with it."""
    last = threading.Timer(STOP_LIMIT_S, os._exit, args=(0,))
    last.daemon = True
    last.start()


def serve(
    *, host: str, port: int, when_up: Callable[[], object], when_told_to_end: Callable[[], object]
) -> None:
    """Serve until told to end."""
    config = uvicorn.Config(
        "evalsuite.asgi:application",
        host=host,
        port=port,
        lifespan="off",
        http=BoundedHeads,
        access_log=False,
        server_header=False,
        log_level="warning",
        timeout_graceful_shutdown=STREAMS_MAY_GO_ON_S,
        proxy_headers=False,  # whom to believe is TRUSTED_PROXY's to say
    )
    Server(config, when_up=when_up, when_told_to_end=when_told_to_end).run()
