"""From a request to a plan: `front.py` asks the cheapest way first.

`llm.py` asks a model, whose text becomes a plan through `draft.py` and `compile.py`; `local.py` plans without one.
"""
