"""What `flowrunner doctor` says of a Home Assistant: its version and clock, and whether it takes the token."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from flowrunner import Clock, Finding
from flowrunner_nodes._http_answer import Unreachable
from flowrunner_nodes._http_check import Seen, clock_of, look, unreachable
from flowrunner_nodes._http_options import TlsOptions


async def check_home_assistant(url: str, token: str, clock: Clock, tls: TlsOptions) -> Iterable[Finding]:
    """Return the findings."""
    try:
        seen = await look(f"{url}/api/config", clock, tls=tls, headers={"Authorization": f"Bearer {token}"})
    except Unreachable as error:
        return [unreachable(error)]
    return [_login(seen), *clock_of(seen)]


def _login(seen: Seen) -> Finding:
    if seen.status in (401, 403):
        help = "make a long-lived access token in the profile of the user, and give it as `token`"
        return Finding("error", "login", f"Home Assistant refuses the token ({seen.status})", help)
    if seen.status != 200:
        text = f"answers {seen.status} where Home Assistant has its API"
        return Finding(
            "error", "server", text, "let `url` end before the /api, and name Home Assistant itself"
        )
    try:
        version = msgspec.json.decode(seen.body)["version"]
    except (msgspec.DecodeError, KeyError, TypeError):
        return Finding("error", "server", "what answers is not Home Assistant", "correct `url`")
    return Finding("ok", "login", f"Home Assistant {version}, token accepted")
