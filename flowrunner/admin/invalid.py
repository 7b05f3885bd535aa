"""The answer to a request that does not fit the schema: what is wrong and where, and nothing of what was sent."""

from __future__ import annotations

import json
from typing import Any

from fastapi import Request, Response

_MOST = 20
"""Mistakes that are told."""


async def explain(_: Request, error: Any) -> Response:
    """Answer 422. The values are left out: one may be a secret, or a number that JSON cannot have."""
    found = [{name: one[name] for name in ("loc", "msg", "type")} for one in error.errors()[:_MOST]]
    # A name in `loc` may hold half a surrogate pair, which only an escape can carry.
    return Response(json.dumps({"detail": found}), 422, media_type="application/json")
