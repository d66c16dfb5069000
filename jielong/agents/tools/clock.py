"""What time it is, from a clock that is handed in: no tool looks at the machine's by itself."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field

from jielong.agents.tools.tool import Refused, Tool, tool
from jielong.base.errors import UserError

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def clock(now: Callable[[], datetime]) -> Tool:
    """The tool over `now`, which gives times that know their zone."""

    def tell(zone: Annotated[str, Field(max_length=40)] = "UTC") -> str:
        """The date, the time and the day of the week.

        Parameters
        ----------
        zone
            A time zone by its IANA name, for example Asia/Taipei.
        """
        at = now()
        if at.tzinfo is None:
            raise UserError("the clock gives times without a zone: use datetime.now(UTC)")
        try:
            there = at.astimezone(ZoneInfo(zone))
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise Refused(f"there is no time zone {zone!r}: give one such as Asia/Taipei or UTC") from None
        return f"{there.isoformat(timespec='seconds')} {DAYS[there.weekday()]}"

    return tool(tell, name="clock")
