"""Traces of a process: on when the environment names a collector, as OpenTelemetry's standard variables do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowrunner.clock import Clock
from flowrunner.context import Logger
from flowrunner.tracing.export import ExportQueue
from flowrunner.tracing.flow import FlowTraces
from flowrunner.tracing.recorder import Recorder
from flowrunner.tracing.sampling import Sampler, Sampling

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_PROTOCOL = "http/protobuf"
_FLUSH_SECONDS = 2.0


class Tracing:
    """Records the spans of all flows of a process and exports them."""

    def __init__(self, recorder: Recorder, queue: ExportQueue[Any], sampling: Sampling, clock: Clock) -> None:
        self._recorder = recorder
        self._queue = queue
        self._sampling = sampling
        self._clock = clock

    @property
    def counts(self) -> Mapping[str, int]:
        """Spans, by what became of them: ``exported``, ``queue_full``, ``failed``."""
        return self._queue.counts

    def flow(self, name: str) -> FlowTraces:
        """Return what follows the messages of a flow."""
        return FlowTraces(name, self._recorder, Sampler(self._sampling, self._clock), self._clock)

    def close(self) -> None:
        """Export what is left; takes two seconds at the most, whatever the collector does."""
        self._queue.close(_FLUSH_SECONDS)


def start_tracing(
    environment: Mapping[str, str], clock: Clock, log: Logger, *, version: str, instance: str
) -> Tracing | None:
    """Start exporting when the environment names a collector; what is wrong with it is logged, and ends nothing."""
    if not _wanted(environment):
        return None
    if (protocol := _first(environment, _PROTOCOLS)) not in ("", _PROTOCOL):
        log.error("traces are off: they are exported by http/protobuf only", protocol=protocol[:50])
        return None
    try:
        from flowrunner.tracing.otlp import OtlpRecorder, OtlpSender
    except ImportError as error:
        log.error("traces are off: install flowrunner-engine[otel]", error=str(error))
        return None
    queue: ExportQueue[Any] = ExportQueue(log, **_sizes(environment, log))
    try:
        recorder = OtlpRecorder(queue, _resource(environment, version, instance))
        queue.start(OtlpSender)
    except Exception as error:
        log.error(
            "traces are off: the OTEL_ variables cannot be used", error=f"{type(error).__name__}: {error}"
        )
        return None
    return Tracing(recorder, queue, _sampling(environment, log), clock)


def _wanted(environment: Mapping[str, str]) -> bool:
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    if environment.get("OTEL_TRACES_EXPORTER", "").strip() not in ("", "otlp"):
        return False
    return _first(environment, _ENDPOINTS) != ""


def _first(environment: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((text for name in names if (text := environment.get(name, "").strip())), "")


def _sampling(environment: Mapping[str, str], log: Logger) -> Sampling:
    try:
        return Sampling.read(environment)
    except ValueError as error:
        log.warning("traces are sampled as by default", error=str(error))
        return Sampling()


def _sizes(environment: Mapping[str, str], log: Logger) -> dict[str, Any]:
    """Return the sizes of the queue, where the environment gives them."""
    found = {
        "capacity": _number(environment, "OTEL_BSP_MAX_QUEUE_SIZE", log),
        "batch": _number(environment, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", log),
        "delay": _number(environment, "OTEL_BSP_SCHEDULE_DELAY", log, unit=1000),
    }
    return {name: value for name, value in found.items() if value is not None}


def _number(environment: Mapping[str, str], name: str, log: Logger, unit: int = 1) -> float | None:
    text = environment.get(name, "").strip()
    if not text:
        return None
    if not text.isdecimal() or not 1 <= len(text) <= 9 or not int(text):
        log.warning("a variable is ignored: it must be a number of 1 or more", name=name, value=text[:50])
        return None
    return int(text) if unit == 1 else int(text) / unit


def _resource(environment: Mapping[str, str], version: str, instance: str) -> dict[str, str]:
    """Return what names this process in a trace; names that the environment gives win."""
    given = environment.get("OTEL_RESOURCE_ATTRIBUTES", "").split(",")
    names = {each.partition("=")[0].strip() for each in given}
    ours = {"service.version": version, "flowrunner.instance": instance}
    if "service.name" in names or environment.get("OTEL_SERVICE_NAME", "").strip():
        return ours
    return {"service.name": "flowrunner", **ours}
