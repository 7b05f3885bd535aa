"""The options of TLS to a broker: its certificate, and our own."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from flowrunner import FileName, Options, option_error


class TlsOptions(Options):
    """How the broker's certificate is checked, and our own."""

    ca: Annotated[
        FileName | None,
        Field(description="File of the CA certificates to trust, PEM.", examples=["/etc/flowrunner/ca.crt"]),
    ] = None
    cert: Annotated[
        FileName | None,
        Field(description="File of our own certificate, PEM.", examples=["/etc/flowrunner/client.crt"]),
    ] = None
    key: Annotated[
        FileName | None,
        Field(description="File of its private key, PEM.", examples=["/etc/flowrunner/client.key"]),
    ] = None
    insecure: Annotated[bool, Field(description="Trust any certificate: for tests only.")] = False

    @model_validator(mode="after")
    def _has_certificate_for_key(self) -> Self:
        if self.key is not None and self.cert is None:
            raise option_error(
                "FR025", "`key` needs `cert`", help="give the certificate that belongs to the key"
            )
        return self
