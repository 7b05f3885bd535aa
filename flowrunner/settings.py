"""The operator's settings: environment variables ``FLOWRUNNER_*``, each also an option of ``flowrunner run``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict

from flowrunner.options import Duration, PositiveDuration, Size


def _check_catalog_url(url: SecretStr | None) -> SecretStr | None:
    """Refuse what is no address of a catalog, in words that hold nothing of it: it may have a password."""
    if url is None:
        return None
    try:
        text = url.get_secret_value()
        parts = urlsplit(text)
        is_file = re.fullmatch("sqlite:///.*[^/]", text) is not None
        usable = is_file or (parts.scheme in ("postgresql", "postgres") and parts.port != 0)
    except ValueError:
        usable = False
    if not usable:
        help = "characters such as @, / and # in a password are written %40, %2F and %23"
        message = "must be postgresql://USER:PASSWORD@HOST/DATABASE or sqlite:///FILE"
        raise PydanticCustomError("catalog_url", message, {"help": help})
    return url


class Settings(BaseSettings):
    """Everything that is not part of a flow. Durations are nanoseconds, sizes bytes."""

    model_config = SettingsConfigDict(
        env_prefix="FLOWRUNNER_", extra="ignore", validate_default=True, env_ignore_empty=True
    )

    state_dir: Annotated[Path, Field(description="Journal, checkpoints, dead letters, last good flows.")] = (
        Path(".flowrunner")
    )
    http_host: Annotated[str, Field(description="Address to listen on.")] = "127.0.0.1"
    http_port: Annotated[
        int, Field(ge=0, le=65_535, description="Port to listen on; 0 takes a free one.")
    ] = 8080
    api_token: Annotated[
        SecretStr | None,
        Field(min_length=1, description="Bearer token for everything but health and metrics."),
    ] = None
    log_format: Annotated[
        Literal["auto", "json", "console"], Field(description="`auto`: console on a terminal, else JSON.")
    ] = "auto"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Field(description="Least level logged.")
    ] = "info"
    journal_max_bytes: Annotated[
        Size, Field(description="What the journal of one flow may take on disk.")
    ] = "1GiB"  # type: ignore[assignment]  # validated: becomes bytes
    journal_retention: Annotated[Duration, Field(description="How long processed records are kept.")] = "24h"  # type: ignore[assignment]  # validated: becomes nanoseconds
    dead_letters_max_bytes: Annotated[
        Size, Field(description="What the dead letters of one flow may take; the oldest give way.")
    ] = "64MiB"  # type: ignore[assignment]  # validated: becomes bytes
    dead_letters_retention: Annotated[
        PositiveDuration, Field(description="How long dead letters are kept.")
    ] = "30d"  # type: ignore[assignment]  # validated: becomes nanoseconds
    checkpoint_every: Annotated[PositiveDuration, Field(description="Time between two checkpoints.")] = "10s"  # type: ignore[assignment]  # validated: becomes nanoseconds
    shutdown_grace: Annotated[Duration, Field(description="Time from SIGTERM to the end.")] = "25s"  # type: ignore[assignment]  # validated: becomes nanoseconds
    reload_poll: Annotated[PositiveDuration, Field(description="How often the flow files are looked at.")] = (
        "1s"  # type: ignore[assignment]  # validated: becomes nanoseconds
    )
    instance: Annotated[
        str,
        Field(pattern=re.compile(r"^[A-Za-z0-9_-]{1,32}$"), description="First part of MQTT client ids."),
    ] = "flowrunner"
    catalog_url: Annotated[
        SecretStr | None,
        AfterValidator(_check_catalog_url),
        Field(description="The catalog of revisions; a file in the state directory, or `postgresql://…`."),
    ] = None
