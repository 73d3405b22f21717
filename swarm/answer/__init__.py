"""From outcomes to one answer."""
