"""What `flowrunner doctor` says of an InfluxDB: its version and clock, and whether the token may write to each bucket."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence

from flowrunner import Clock, Finding
from flowrunner_nodes._http_answer import Unreachable
from flowrunner_nodes._http_check import clock_of, look, unreachable
from flowrunner_nodes._http_options import TlsOptions
from flowrunner_nodes._influx_answer import Answer

type Write = Callable[[str, bytes], Awaitable[Answer]]


async def check_influxdb(
    url: str, clock: Clock, tls: TlsOptions, buckets: Sequence[str], write: Write
) -> Iterable[Finding]:
    """Return the findings; ``write`` sends lines to a bucket, and is given none."""
    try:
        seen = await look(f"{url}/ping", clock, tls=tls)
        findings = [
            Finding("ok", "server", _version(seen.headers.get("x-influxdb-version"))),
            *clock_of(seen),
        ]
        return findings + [await _bucket(bucket, write) for bucket in buckets]
    except Unreachable as error:
        return [unreachable(error)]


async def _bucket(bucket: str, write: Write) -> Finding:
    """Send no point: a server refuses a token and a missing bucket before it looks for one."""
    answer = await write(bucket, b"")
    if answer.accepted or answer.status in (400, 422):
        return Finding("ok", f"bucket {bucket}", "exists, and may be written to")
    return Finding("error", f"bucket {bucket}", answer.message, answer.advice)


def _version(version: str | None) -> str:
    return "answers" if version is None else f"InfluxDB {version}"
