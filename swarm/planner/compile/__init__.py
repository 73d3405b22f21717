"""From a draft to a plan that can run."""
