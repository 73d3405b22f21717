"""From a job's log to its progress, and from its progress to what happens next. Pure."""
