"""Django's `{% url %}`, with each address looked up once: a page asks for a hundred, mostly the same ones."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from django import template
from django.template.defaulttags import URLNode
from django.template.defaulttags import url as parse
from django.urls import get_urlconf, reverse
from django.utils.html import conditional_escape

register = template.Library()


class KnownURLNode(URLNode):
    def render(self, context: template.Context) -> str:
        if self.kwargs or self.asvar or not context.autoescape:
            return super().render(context)
        args = [arg.resolve(context) for arg in self.args]
        return _address(get_urlconf(), self.view_name.resolve(context), *args)


@register.tag
def url(parser: template.base.Parser, token: template.base.Token) -> URLNode:
    node = parse(parser, token)
    return KnownURLNode(node.view_name, node.args, node.kwargs, node.asvar)


@lru_cache(maxsize=4096, typed=True)
def _address(urlconf: str | None, name: str, *args: Any) -> str:
    return conditional_escape(reverse(name, urlconf, args=args))
