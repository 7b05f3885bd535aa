"""The live page: every flow as a picture with moving numbers. Rendered here, kept moving by one small script."""

from __future__ import annotations

import base64
import hashlib
from html import escape
from importlib.resources import files

from flowrunner.admin.process import Process
from flowrunner.graph.draw import STYLE, draw_svg
from flowrunner.runtime.supervisor import Flow

ASSETS = {"page.css": "text/css; charset=utf-8", "page.js": "text/javascript; charset=utf-8"}


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; connect-src 'self'; img-src 'self' data:; "
        f"style-src 'self' '{_hash(f'\n{STYLE}')}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
"""The page asks nobody but this process for anything, and runs no script but its own."""

_TILES = {
    "received": "Messages that came in",
    "written": "Messages that the world has accepted",
    "filtered": "Messages that nodes filtered out",
    "aggregated": "Messages that are part of a closed window",
    "held": "Messages in the journal, in channels, windows and throttles",
    "dropped": "Messages dropped, for the reasons that the metrics name",
    "dead_lettered": "Messages that could not be processed and are kept aside",
    "lag": "How far the flow is behind",
}


def asset(name: str) -> bytes:
    """Return a static file of the page."""
    return files("flowrunner.admin").joinpath("static", name).read_bytes()


def render(process: Process) -> str:
    """Return the page as HTML."""
    flows = "\n".join(_flow(flow) for flow in process.supervisor.flows.values())
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>flowrunner</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="static/page.css">
<script src="static/page.js" defer></script>
</head>
<body>
<header>
<h1>flowrunner</h1>
<p id="state" role="status">connecting</p>
<p class="version">{escape(process.version)}</p>
</header>
<ul id="trouble" hidden></ul>
<main>
{flows}
</main>
</body>
</html>
"""


def _flow(flow: Flow) -> str:
    graph = flow.graph
    tiles = "".join(
        f'<div title="{escape(text)}"><dt>{name.replace("_", " ")}</dt><dd data-total="{name}">0</dd></div>'
        for name, text in _TILES.items()
    )
    about = f"<p>{escape(graph.description)}</p>" if graph.description else ""
    return f"""<section data-flow="{escape(graph.name)}" data-hash="{graph.digest[:12]}">
<h2>{escape(graph.name)} <small>{escape(graph.file)}</small></h2>
{about}
<dl>{tiles}</dl>
<div class="picture" tabindex="0" aria-label="The flow {escape(graph.name)}">{draw_svg(graph)}</div>
{"".join(_last(name) for name, node in graph.nodes.items() if node.type.kind == "sink")}
</section>"""


def _last(sink: str) -> str:
    return f'<h3>last written by <code>{escape(sink)}</code></h3><ol data-last="{escape(sink)}"></ol>'
