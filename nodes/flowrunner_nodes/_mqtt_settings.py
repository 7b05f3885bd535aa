"""Where and how to connect, and why there is no connection."""

from __future__ import annotations

import ssl

import msgspec


class LinkError(Exception):
    """There is no connection to the broker, or no more. ``operator``: a person must act."""

    def __init__(
        self, reason: str, *, operator: bool = False, code: int | None = None, by_broker: bool = False
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.operator = operator
        self.code = code
        """The reason code of the broker's DISCONNECT packet."""
        self.by_broker = by_broker
        """Whether the other end has ended the connection, with a DISCONNECT packet or without."""


class TlsFiles(msgspec.Struct, frozen=True):
    """What the TLS of a connection is made of; the files are read anew at each attempt."""

    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    insecure: bool = False

    def context(self) -> ssl.SSLContext:
        """Return the context. Raises :class:`LinkError` for files that cannot be used."""
        try:
            context = ssl.create_default_context(cafile=self.ca)
            if self.cert is not None:
                context.load_cert_chain(self.cert, self.key)
        except OSError as error:  # ssl.SSLError is one
            files = ", ".join(file for file in (self.ca, self.cert, self.key) if file)
            reason = error.strerror or str(error)
            raise LinkError(f"cannot use the TLS files {files}: {reason}", operator=True) from None
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


class Settings(msgspec.Struct, frozen=True):
    """Where and how to connect; times in seconds, sizes in bytes."""

    host: str
    port: int
    client_id: str
    version5: bool
    username: str | None
    password: str | None
    tls: TlsFiles | None
    keepalive: int
    session_expiry: int
    max_packet: int
    receive_maximum: int


class Subscription(msgspec.Struct, frozen=True):
    """A subscription as it is sent; ``identifier`` and ``retained`` are used by MQTT 5 only."""

    filter: str
    qos: int
    identifier: int
    retained: bool


def refusal(code: int, *, five: bool) -> LinkError:
    """Return what a CONNACK code other than 0 means."""
    words, operator = (_REFUSALS_5 if five else _REFUSALS_3).get(code, ("it gives no known reason", False))
    return LinkError(f"the broker refuses the connection: {words} (code {code})", operator=operator)


_REFUSALS_3 = {
    1: ("it does not speak MQTT 3.1.1", True),
    2: ("it does not accept the client id", True),
    3: ("it is not available", False),
    4: ("the user name or password is wrong", True),
    5: ("not authorized", True),
}
_REFUSALS_5 = {
    128: ("it gives no reason", False),
    132: ("it does not speak MQTT 5; set `protocol: 3.1.1`", True),
    133: ("it does not accept the client id", True),
    134: ("the user name or password is wrong", True),
    135: ("not authorized", True),
    136: ("it is not available", False),
    137: ("it is busy", False),
    138: ("this client is banned", True),
    140: ("it wants another way to authenticate", True),
    149: ("the CONNECT packet is too large for it", True),
    151: ("its quota is exceeded", False),
    156: ("it sends its clients to another server", True),
    157: ("it has moved to another server", True),
    159: ("connections come too fast", False),
}
