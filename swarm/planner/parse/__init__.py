"""Read the text of a planner's model into a draft of a plan."""
