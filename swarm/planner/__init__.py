"""From a request to a plan: `planner.py` asks the cheapest way first.

`planner.py` asks a model, whose text becomes a plan through `draft.py` and `compile.py`; `planner.py` plans without
one.
"""
