"""Worker processes: claim deliveries, run them and settle them."""
