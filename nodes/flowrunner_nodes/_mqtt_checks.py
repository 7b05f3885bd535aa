"""What the options of MQTT nodes and connections can be."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from flowrunner import NANOSECONDS, Value, option_error
from flowrunner_nodes._http_addresses import check_named
from flowrunner_nodes._mqtt_publication import text_fault, topic_fault
from flowrunner_nodes._mqtt_topics import filter_fault
from flowrunner_nodes._values import is_expression

URL_HELP = "write mqtt://HOST:PORT, or mqtts://HOST:PORT for TLS"
PORTS = {"mqtt": 1883, "mqtts": 8883}
_LONGEST_EXPIRY = 0xFFFF_FFFE
"""Seconds; one more means for ever."""


def check_url(text: str) -> str:
    """Return the address of a broker as it was given."""
    if "@" in text:  # not shown: it may hold a password
        help = "give the user in `username` and the password in `password`"
        raise option_error("FR025", "`{name}` holds a user name or password", help=help)
    not_a_broker = option_error(
        "FR025", f"`{{name}}` is not the address of a broker: {text!r}", help=URL_HELP
    )
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        raise not_a_broker from None
    extra = url.path.strip("/") or url.query or url.fragment
    if url.scheme not in PORTS or not url.hostname or extra or port == 0:
        raise not_a_broker
    check_named(url.hostname)
    return text


def check_keepalive(value: int) -> int:
    """Return a keepalive, nanoseconds, that fits the protocol."""
    if not NANOSECONDS <= value <= 65535 * NANOSECONDS:
        raise option_error("FR023", "`{name}` must be from 1s to 65535s", help="60s suits most networks")
    return value


def check_expiry(value: int) -> int:
    """Return a session expiry, nanoseconds, that fits the protocol."""
    if value > _LONGEST_EXPIRY * NANOSECONDS:
        raise option_error("FR023", "`{name}` must be less than 136 years", help="1d suits most homes")
    return value


def check_packet(value: int) -> int:
    """Return a limit for packets, bytes, that fits the protocol."""
    if not 2**10 <= value <= 2**28 - 1:
        raise option_error(
            "FR023", "`{name}` must be from 1KiB to just below 256MiB", help="write 1MiB or so"
        )
    return value


def check_topic(text: str) -> str:
    """Return a topic filter as it was given."""
    fault = filter_fault(text)
    if fault is not None:
        reason, offset, length = fault
        raise option_error(
            "FR034",
            f"{text!r} is not a topic filter: {reason}",
            help="write levels between `/`, with `+` for one level and `#` at the end for all that follow",
            offset=offset,
            length=length,
        )
    return text


def check_qos(value: Any) -> Any:
    """Return a QoS; 2 is refused with the reason, all else is for the type to judge."""
    if value == 2 and not isinstance(value, bool):
        raise option_error(
            "FR033",
            "`{name}: 2` is not supported: a message of QoS 2 must be accepted before it is safe in the journal, "
            "and would be lost in a crash",
            help="use `qos: 1`: nothing is lost, but a message may come twice",
        )
    return value


def check_publish_qos(value: Any) -> Any:
    """Return a QoS to publish with; 2 is refused with the reason, all else is for the type to judge."""
    if value == 2 and not isinstance(value, bool):
        raise option_error(
            "FR033",
            "`{name}: 2` is not supported: what was published since the last checkpoint is published again after a "
            "crash, and QoS 2 cannot tell the broker that it is the same message",
            help="use `qos: 1`: nothing is lost, but a message may come twice",
        )
    return value


def check_publish_topic(value: Value) -> Value:
    """Refuse a literal that is no topic."""
    if is_expression(value):
        return value
    fault = topic_fault(value.source) if isinstance(value.source, str) else "it is no text"
    if fault is not None:
        raise option_error(
            "FR025",
            f"nothing can be published to {value.source!r:.60}: {fault}",
            help="write a topic such as home/kitchen/light, or CEL after an equals sign: ='home/' + payload.room",
        )
    return value


def check_retain(value: Value) -> Value:
    """Refuse a literal that is no bool."""
    if is_expression(value) or isinstance(value.source, bool):
        return value
    raise option_error(
        "FR022", "`{name}` must be true, false or CEL", help="write true, or CEL such as =meta.retain"
    )


def check_property(value: Value) -> Value:
    """Refuse a literal that cannot be the value of a user property."""
    literal = value.source
    if isinstance(literal, list | dict | None):
        help = "write a text, a number or CEL"
        raise option_error("FR022", "`{name}` must be a text or a number", help=help)
    if isinstance(literal, str) and not is_expression(value):
        check_text(literal)
    return value


def check_text(text: str) -> str:
    """Refuse what cannot stand in a packet."""
    fault = text_fault(text)
    if fault is not None:
        raise option_error("FR025", f"`{{name}}` cannot be sent: {fault}", help="leave these characters out")
    return text
