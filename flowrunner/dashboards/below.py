"""Rows on what is below the flows: journal, checkpoints, process."""

from __future__ import annotations

from flowrunner.dashboards.model import Panel, Query, Row
from flowrunner.dashboards.queries import TO_FLOW, F, I, R

JOURNAL = Row(
    "Journal and checkpoints",
    (
        Panel(
            "Journal on disk",
            "History included, which gives way when the cap comes near.",
            (
                Query(f"sum by (flow) (flowrunner_journal_bytes{{{F}}})", "{{flow}}"),
                Query(f"max(flowrunner_journal_max_bytes{{{I}}})", "cap of each flow"),
            ),
            unit="bytes",
            link=TO_FLOW,
        ),
        Panel(
            "Oldest record not done with",
            "What a sink still owes: after a crash the flow goes on from there.",
            (Query(f"max by (flow) (flowrunner_journal_oldest_seconds{{{F}}})", "{{flow}}"),),
            unit="s",
            limits=((600, "orange"),),
            link=TO_FLOW,
        ),
        Panel(
            "Checkpoints",
            "How long the last one took and how old it is; the age grows while nothing happens.",
            (
                Query(f"max by (flow) (flowrunner_checkpoint_seconds{{{F}}})", "{{flow}} took"),
                Query(f"max by (flow) (flowrunner_checkpoint_age_seconds{{{F}}})", "{{flow}} age"),
            ),
            unit="s",
            width=4,
            link=TO_FLOW,
        ),
        Panel(
            "Damage",
            "Records lost with broken files, and files and checkpoints found broken, since the first start.",
            (
                Query(f"sum by (flow) (flowrunner_journal_damaged_records_total{{{F}}})", "{{flow}} records"),
                Query(f"sum by (flow) (flowrunner_state_damaged_files_total{{{F}}})", "{{flow}} files"),
            ),
            width=4,
            limits=((1, "red"),),
        ),
    ),
)

PROCESS = Row(
    "Process",
    (
        Panel(
            "Event loop lag",
            "How late the event loop is. Above 0.25 s the machine is too busy, or a node type blocks.",
            (Query(f"max by (instance) (flowrunner_event_loop_lag_seconds{{{I}}})", "{{instance}}"),),
            unit="s",
            limits=((0.25, "red"),),
        ),
        Panel(
            "Reloads, restarts",
            "Reloads by result, and restarts of flows after a crash.",
            (
                Query(f"sum by (result) (increase(flowrunner_reload_total{{{I}}}{R}))", "reload {{result}}"),
                Query(
                    f"sum by (flow) (increase(flowrunner_flow_restarts_total{{{F}}}{R}))",
                    "{{flow}} restarted",
                ),
            ),
        ),
        Panel(
            "CPU",
            "The part of a core that the process takes.",
            (Query(f"rate(process_cpu_seconds_total{{{I}}}{R})", "{{instance}}"),),
            unit="percentunit",
            width=4,
        ),
        Panel(
            "Memory and files",
            "Resident memory (MB), and open files.",
            (
                Query(f"process_resident_memory_bytes{{{I}}} / 1e6", "{{instance}} MB"),
                Query(f"process_open_fds{{{I}}}", "{{instance}} files"),
            ),
            width=4,
        ),
    ),
)
