"""Points in time as this package writes them: ISO 8601 with the offset from UTC.

So that a reader elsewhere knows when it was.
"""

from __future__ import annotations

from datetime import datetime


def timestamp(seconds: float | None = None) -> str:
    """Return a point in time such as `2024-05-01T14:03:07+02:00`, in the zone of this machine.

    Args:
        seconds: since the epoch, as `time.time()` counts them; None for now.
    """
    moment = datetime.now() if seconds is None else datetime.fromtimestamp(seconds)
    return moment.astimezone().isoformat(timespec="seconds")
