"""Where experts run: processes that claim deliveries and see them through."""
