"""Alert rules for Prometheus: for all flows, or for one with limits of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import yaml

_RUNBOOK = "docs/grafana.md"


class Limits(msgspec.Struct, frozen=True):
    """When an alert fires; in PromQL's durations, and seconds."""

    lag: int = 300
    silence: str = "1h"
    """Without any message of a source that has sent some in the day before."""


class Alert(msgspec.Struct, frozen=True):
    """One rule; ``labels`` in ``expr`` stands for the labels of flows."""

    name: str
    expr: str
    wait: str
    severity: Literal["critical", "warning"]
    summary: str
    runbook: str
    """What it means and what to do, for whoever is woken up by it."""


def alerts(flow: str | None = None, limits: Limits = Limits()) -> Sequence[Alert]:  # noqa: B008  # frozen
    """Return the rules for a flow, or for all flows and the process."""
    matcher = "" if flow is None else f'{{flow="{flow}"}}'
    of_flows = _of_flows(matcher, limits)
    return of_flows if flow is not None else [*_OF_PROCESS, *of_flows]


def alerts_text(flow: str | None = None, limits: Limits = Limits()) -> str:  # noqa: B008  # frozen
    """Return the file of rules that Prometheus reads."""
    name = "flowrunner" if flow is None else f"flowrunner_{flow}"
    group = {"name": name, "rules": [_rule(alert, flow) for alert in alerts(flow, limits)]}
    text = yaml.safe_dump({"groups": [group]}, sort_keys=False, width=110, allow_unicode=True)
    return f"# Made by `flowrunner dashboard`; write it again instead of changing it.\n{text}"


def _rule(alert: Alert, flow: str | None) -> dict[str, Any]:
    anchor = alert.name.lower()
    return {
        "alert": alert.name if flow is None else f"{alert.name}_{flow}",
        "expr": alert.expr,
        "for": alert.wait,
        "labels": {"severity": alert.severity},
        "annotations": {
            "summary": alert.summary,
            "description": alert.runbook,
            "runbook": f"{_RUNBOOK}#{anchor}",
        },
    }


_WHERE = "{{ $labels.flow }} on {{ $labels.instance }}"
_NODE = "{{ $labels.flow }}.{{ $labels.node }} on {{ $labels.instance }}"

_OF_PROCESS = (
    Alert(
        "FlowrunnerDown",
        'up{job="flowrunner"} == 0 or absent(up{job="flowrunner"})',
        "2m",
        "critical",
        "flowrunner {{ $labels.instance }} answers no scrape",
        "The process is down, or Prometheus cannot reach it. Look at its log and at /livez; exit code 78 means that no "
        "valid flow could start. The journal keeps what had come in, and brokers keep what has not.",
    ),
    Alert(
        "FlowrunnerReloadRefused",
        'increase(flowrunner_reload_total{result=~"refused|failed"}[15m]) > 0',
        "0m",
        "warning",
        "flowrunner {{ $labels.instance }} has refused a change of the flows",
        "The files have a mistake, or a node cannot be built; the last good version goes on running. /readyz and "
        "`flowrunner validate` say which line. The alert ends 15 minutes after the last attempt.",
    ),
    Alert(
        "FlowrunnerEventLoopLag",
        "avg_over_time(flowrunner_event_loop_lag_seconds[5m]) > 0.25",
        "5m",
        "warning",
        "the event loop of {{ $labels.instance }} is {{ $value | humanizeDuration }} late",
        "The machine is too busy, the container has too little CPU, or a node type blocks. The panel Busy shows the "
        "node that takes the most; MQTT keepalives and health checks fail when it goes on.",
    ),
)


def _also(matchers: str, more: str) -> str:
    """Return matchers, which may be none, with one more."""
    return f"{{{more}}}" if not matchers else f"{matchers[:-1]},{more}}}"


def _of_flows(f: str, limits: Limits) -> list[Alert]:
    return [*_progress(f, limits), *_parts(f, limits), *_losses(f)]


def _progress(f: str, limits: Limits) -> list[Alert]:
    return [
        Alert(
            "FlowrunnerLag",
            f"flowrunner_flow_lag_seconds{f} > {limits.lag}",
            "5m",
            "warning",
            f"{_WHERE} is {{{{ $value | humanizeDuration }}}} behind",
            "A sink does not accept, or the flow gets more than it can process. Look at FlowrunnerSinkFailing, the "
            "channel fill and the busiest node. Nothing is lost as long as the journal has room.",
        ),
        Alert(
            "FlowrunnerJournalFilling",
            f"flowrunner_journal_bytes{f}"
            " / on (job, instance) group_left () flowrunner_journal_max_bytes > 0.8"
            f" and on (job, instance, flow) flowrunner_journal_oldest_seconds{f} > 600",
            "5m",
            "critical",
            f"the journal of {_WHERE} is {{{{ $value | humanizePercentage }}}} full of what no sink has taken",
            "At the cap sources take nothing more (MQTT, webhooks) or drop the oldest (Home Assistant). Mend the sink, "
            "or raise FLOWRUNNER_JOURNAL_MAX_BYTES if the disk has room; both take effect without a loss.",
        ),
        Alert(
            "FlowrunnerCheckpointOld",
            f"flowrunner_checkpoint_age_seconds{f} > 300"
            f" and on (job, instance, flow) rate(flowrunner_flow_messages_received_total{f}[5m]) > 0",
            "5m",
            "warning",
            f"{_WHERE} has had no checkpoint for {{{{ $value | humanizeDuration }}}}",
            "After a crash the flow would repeat all that has come since. Checkpoints wait for sinks: look at "
            "FlowrunnerSinkFailing. Otherwise the disk is full or not writable: /readyz says so; run `flowrunner doctor`.",
        ),
        Alert(
            "FlowrunnerFlowRestarting",
            f"increase(flowrunner_flow_restarts_total{f}[15m]) > 2",
            "0m",
            "critical",
            f"{_WHERE} crashes again and again",
            "A node type raises what it should not, or the state cannot be used. The log has the traceback; the flow "
            "starts again from its last checkpoint, and a message that crashes a node is set aside as a dead letter.",
        ),
    ]


def _parts(f: str, limits: Limits) -> list[Alert]:
    sources = _also(f, 'type=~".+_in|inject"')
    return [
        Alert(
            "FlowrunnerSinkFailing",
            f"increase(flowrunner_node_retries_total{f}[5m]) > 0"
            f" and on (job, instance, flow, node) increase(flowrunner_node_messages_written_total{f}[5m]) == 0",
            "5m",
            "critical",
            f"{_NODE} writes nothing",
            "The server does not accept what the sink sends; the sink tries again and the journal keeps everything. "
            "/readyz has the server's words; `flowrunner doctor` checks address, token and bucket.",
        ),
        Alert(
            "FlowrunnerNodeFailed",
            f"flowrunner_node_status{f} == 3",
            "1m",
            "critical",
            f"{_NODE} has failed",
            "A person must act: a wrong token, a missing bucket, a file that cannot be read. /readyz has the reason. "
            "The node goes on by itself, or after a reload, when it is mended.",
        ),
        Alert(
            "FlowrunnerConnectionDown",
            f"flowrunner_connection_up{f} == 0",
            "5m",
            "warning",
            "the connection {{ $labels.connection }} of " + _WHERE + " is down",
            "The server is down, or not reachable, or refuses the login. /readyz has the reason; `flowrunner doctor` "
            "checks name, port, TLS and login. It is tried again all the time.",
        ),
        Alert(
            "FlowrunnerSourceSilent",
            f"increase(flowrunner_node_messages_received_total{sources}[{limits.silence}]) == 0"
            f" and increase(flowrunner_node_messages_received_total{sources}[1d]) > 0",
            "10m",
            "warning",
            f"{_NODE} has brought nothing for {limits.silence}",
            "It has sent something within the last day, and nothing now: sensors or their bridge are off, a topic was "
            "renamed, or an access list has changed. `mosquitto_sub` or Home Assistant's developer tools show what is sent.",
        ),
    ]


def _losses(f: str) -> list[Alert]:
    dropped = "flowrunner_node_messages_dropped_total" + _also(f, 'reason="buffer_full"')
    return [
        Alert(
            "FlowrunnerDeadLetters",
            f"increase(flowrunner_node_messages_dead_lettered_total{f}[10m]) > 0",
            "0m",
            "warning",
            f"{_NODE} cannot process messages",
            "`flowrunner dead-letters list` shows them and why. Mend the flow or the data, then `flowrunner dead-letters "
            "replay` puts them in front of the node again.",
        ),
        Alert(
            "FlowrunnerMessagesDropped",
            f"increase({dropped}[10m]) > 0 or ({dropped} unless {dropped} offset 10m) > 0",
            "0m",
            "warning",
            f"{_NODE} drops messages: {{{{ $labels.reason }}}}",
            "More comes than can be taken, and the options say to drop: `buffer.when_full`; `outbox` keeps "
            "them on disk instead. Make room as FlowrunnerLag and FlowrunnerJournalFilling say.",
        ),
        Alert(
            "FlowrunnerUnaccounted",
            f"flowrunner_flow_messages_unaccounted{f} != 0",
            "5m",
            "critical",
            f"the books of {_WHERE} do not balance: {{{{ $value }}}}",
            "received + created is not ended + held: a bug in flowrunner. Keep the state directory and the log, and "
            "report it with /api/v1/flows/{{ $labels.flow }}.",
        ),
        Alert(
            "FlowrunnerStateDamaged",
            f"increase(flowrunner_state_damaged_files_total{f}[1h]) > 0",
            "0m",
            "critical",
            f"files of {_WHERE} were found broken",
            "A disk, a file system or a power cut has damaged the journal or a checkpoint. The log names the files, which "
            "are kept; flowrunner_journal_damaged_records_total counts what could not be read. Check the disk.",
        ),
    ]
