"""Answers, plans and running jobs as text for people."""
