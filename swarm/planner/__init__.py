"""From a request to a plan: `front.py` asks the cheapest way first, `local.py` plans without a model."""
