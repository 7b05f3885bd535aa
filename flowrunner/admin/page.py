"""The live page: every flow as a picture with moving numbers. Rendered here, kept moving by small scripts."""

from __future__ import annotations

import base64
import hashlib
from html import escape
from importlib.resources import files

from flowrunner.admin.process import Process
from flowrunner.graph.draw import STYLE, draw_svg
from flowrunner.runtime.supervisor import Flow

_SCRIPTS = ("page.js", "picture.js", "panel.js", "why.js", "format.js")
ASSETS = {"page.css": "text/css; charset=utf-8", **dict.fromkeys(_SCRIPTS, "text/javascript; charset=utf-8")}


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

_IN = {
    "received": "Messages that came in",
    "created": "Messages that nodes made in addition: results of windows, copies for a second wire",
}
_ENDS = {
    "written": "Messages that the world has accepted",
    "filtered": "Messages that nodes filtered out",
    "aggregated": "Messages that are part of a closed window",
    "held": "Messages in the journal, in channels, windows and throttles",
    "dropped": "Messages dropped, for the reasons that the metrics name",
    "dead_lettered": "Messages that could not be processed and are kept aside",
}
_FACTS = {
    "lag": "How far the flow is behind",
    "journal": "What the journal takes on disk",
    "checkpoint": "When the state was last committed",
    "generation": "Versions since the process was started",
    "running": "How long this version runs",
    "restarts": "Crashes that the flow came back from",
}


def asset(name: str) -> bytes:
    """Return a static file of the page."""
    return files("flowrunner.admin").joinpath("static", name).read_bytes()


def render(process: Process) -> str:
    """Return the page as HTML."""
    flows = list(process.supervisor.flows.values())
    tabs = "".join(_tab(flow) for flow in flows) if len(flows) > 1 else ""
    sections = "\n".join(_flow(flow) for flow in flows) or _NOTHING
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>flowrunner</title>
<link rel="icon" href="{_ICON}">
<link rel="stylesheet" href="static/page.css">
<script src="static/page.js" type="module"></script>
</head>
<body>
<header>
<h1>flowrunner</h1>
<p id="state" role="status">connecting</p>
<p class="version">{escape(process.version)}</p>
</header>
<nav id="flows" aria-label="Flows">{tabs}</nav>
<ul id="trouble" hidden></ul>
<div class="work">
<main>
{sections}
<details id="reloads" hidden><summary>Reloads</summary><ol></ol></details>
</main>
<aside id="panel" aria-label="Details" tabindex="-1" hidden></aside>
</div>
</body>
</html>
"""


_ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Cpath d='M3 4h4c4 0 2 8 6 8'"
    " fill='none' stroke='%231a7f64' stroke-width='2'/%3E%3Ccircle cx='3' cy='4' r='2' fill='%231a7f64'/%3E"
    "%3Ccircle cx='13' cy='12' r='2' fill='%23b35900'/%3E%3C/svg%3E"
)
_NOTHING = '<p class="nothing">No flow is running. Mend the files, and the page shows it by itself.</p>'


def _tab(flow: Flow) -> str:
    name = escape(flow.graph.name)
    return f'<a href="#{name}" data-tab="{name}">{name}</a>'


def _flow(flow: Flow) -> str:
    graph = flow.graph
    about = f"<p>{escape(graph.description)}</p>" if graph.description else ""
    sinks = "".join(_last(name) for name, node in graph.nodes.items() if node.type.kind == "sink")
    return f"""<section data-flow="{escape(graph.name)}" data-hash="{graph.digest[:12]}">
<h2>{escape(graph.name)} <small>{escape(graph.file)}</small></h2>
{about}
<dl class="facts">{_tiles(_FACTS, "fact")}</dl>
<dl class="books">{_tiles(_IN, "total")}<div class="sign">=</div>{_tiles(_ENDS, "total")}
<div class="balance" data-balance></div></dl>
<div class="picture" role="group" aria-label="The flow {escape(graph.name)}: arrow keys go along the wires, Enter opens">
{draw_svg(graph)}</div>
<div class="written">{sinks}</div>
</section>"""


def _tiles(names: dict[str, str], kind: str) -> str:
    return "".join(
        f'<div title="{escape(text)}"><dt>{name.replace("_", " ")}</dt><dd data-{kind}="{name}">&ndash;</dd></div>'
        for name, text in names.items()
    )


def _last(sink: str) -> str:
    return f'<h3>last written by <code>{escape(sink)}</code></h3><ol data-last="{escape(sink)}"></ol>'
