"""Make one answer from the outcomes of subtasks."""
