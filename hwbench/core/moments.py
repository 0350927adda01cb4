"""Times of day as stored files write them."""

from datetime import UTC, datetime


def moment(text: str) -> datetime | None:
    """An ISO 8601 time as UTC without a zone, to the microsecond; None where the text is none."""
    try:
        found = datetime.fromisoformat(text)
        return (found.astimezone(UTC) if found.tzinfo else found).replace(tzinfo=None)
    except (ValueError, OverflowError):
        return None
