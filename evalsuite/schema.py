"""The API's document, and a page to read it with. Both are for everybody: they tell of no data."""

from __future__ import annotations

from functools import cache
from typing import Any

from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularSwaggerSplitView
from rest_framework.renderers import JSONRenderer, TemplateHTMLRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from evalsuite.orgs.account_views import PublicView
from evalsuite.orgs.models import Membership
from experiments.evaluators.registry import KINDS
from experiments.models import Batch, ExperimentRun
from llm_routing.models import Provider
from playground.models import PlaygroundMessage

# For ENUM_NAME_OVERRIDES, which wants what the serializers say.
RUN_STATES = ExperimentRun.State.values
BATCH_STATES = Batch.State.values
PROVIDER_KINDS = Provider.Kind.values
EVALUATOR_KINDS = sorted(KINDS)
MEMBER_ROLES = Membership.Role.values
MESSAGE_ROLES = PlaygroundMessage.Role.values


@cache
def document() -> Any:
    """The OpenAPI document. Made once in each process: it changes with the code alone."""
    return SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]


class SchemaView(PublicView):
    @extend_schema(exclude=True)
    def get(self, request: Request) -> Response:
        return Response(document())


class DocsView(PublicView, SpectacularSwaggerSplitView):
    """Swagger UI from our own static files, its script from this same address with `?script`.

    Loads nothing from other servers, and has nothing inline.
    """

    template_name = "api_docs.html"
    renderer_classes = [TemplateHTMLRenderer]

    def handle_exception(self, exc: Exception) -> Response:
        """Its errors are JSON like those of all other routes."""
        self.request.accepted_renderer = JSONRenderer()
        self.request.accepted_media_type = JSONRenderer.media_type
        response: Response = super().handle_exception(exc)
        return response
