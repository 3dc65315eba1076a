"""Traces by OpenTelemetry, where OTEL_EXPORTER_OTLP_ENDPOINT says where they go.

Without it `tracer` is None, we import nothing of OpenTelemetry, and whoever could make a span asks for that
alone. Spans hold ids, names, counts and codes; never what people or models wrote, nor the words of
exceptions, which may quote it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

TRACES_PATH = "/v1/traces"
tracer: Any = None  # OpenTelemetry's; None: there are no traces
_provider: Any = None


def begin() -> None:
    """Make traces in this process, if they have somewhere to go. Raises ImproperlyConfigured."""
    global tracer, _provider  # noqa: PLW0603 - once in the life of a process
    if not settings.OTEL_EXPORTER_OTLP_ENDPOINT:
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as missing:
        raise ImproperlyConfigured(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, and the extra [otel] is not installed."
        ) from missing
    named = Resource.create({"service.name": "evalsuite"}).merge(OTELResourceDetector().detect())
    _provider = TracerProvider(resource=named)
    endpoint = settings.OTEL_EXPORTER_OTLP_ENDPOINT.rstrip("/") + TRACES_PATH
    _provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    tracer = _provider.get_tracer("evalsuite")


def end() -> None:
    """Send what has been made, and make no more."""
    global tracer, _provider  # noqa: PLW0603
    if _provider is not None:
        _provider.shutdown()
    tracer = _provider = None


def request(method: str) -> AbstractContextManager[Any]:
    """A span around a request; what it gives is to be told of the answer by `answered`. None: no traces."""
    if tracer is None:
        return nullcontext()
    from opentelemetry.trace import SpanKind

    return _around(method, kind=SpanKind.SERVER, attributes={"http.request.method": method})


def answered(span: Any, method: str, route: str, status: int) -> None:
    if span is not None:
        span.update_name(f"{method} {route}".rstrip())
        span.set_attribute("http.route", route)
        span.set_attribute("http.response.status_code", status)
        if status >= 500:
            failed(span, str(status))


def work(
    name: str, attributes: Mapping[str, Any], *, origin: str, linked: bool
) -> AbstractContextManager[Any]:
    """A span around work that a request of before wanted: `origin`, as `mark` gave it. Only with a tracer.

    `linked`: a trace of its own that points there, in place of a part of that request's trace.
    """
    from opentelemetry import trace

    wanted_by = _read(origin)
    if not linked:
        return _around(name, context=wanted_by, attributes=attributes)
    there = trace.get_current_span(wanted_by).get_span_context()
    links = [trace.Link(there)] if there.is_valid else []
    return _around(name, context=_read(""), attributes=attributes, links=links)


def call(name: str, attributes: Mapping[str, Any], *, origin: str) -> Any:
    """A span for a call to a server, to be ended by the caller. Only with a tracer.

    Part of the work that the thread is at, else of the request `origin`.
    """
    from opentelemetry import trace

    inside = trace.get_current_span().get_span_context().is_valid
    context = None if inside else _read(origin)
    return tracer.start_span(name, context=context, kind=trace.SpanKind.CLIENT, attributes=attributes)


def failed(span: Any, error: str) -> None:
    """`error`: a code of ours, or a status."""
    from opentelemetry.trace import StatusCode

    span.set_attribute("error.type", error)
    span.set_status(StatusCode.ERROR)


def mark(span: Any) -> str:
    """Where a span can be found later, as W3C's `traceparent`; empty without one."""
    if span is None:
        return ""
    at = span.get_span_context()
    return f"00-{at.trace_id:032x}-{at.span_id:016x}-{at.trace_flags:02x}"


def _read(traceparent: str) -> Any:
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({"traceparent": traceparent}, context=Context())


def _around(name: str, **more: Any) -> AbstractContextManager[Any]:
    around: AbstractContextManager[Any] = tracer.start_as_current_span(
        name, record_exception=False, set_status_on_exception=False, **more
    )
    return around
