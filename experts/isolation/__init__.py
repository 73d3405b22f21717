"""Experts in processes of their own."""
