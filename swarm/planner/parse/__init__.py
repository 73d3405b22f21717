"""From the text of a planner's model to a draft of a plan."""
