"""The proof of delivery: `python -m tests.chaos` runs a mixed load on real processes while it breaks them.

What is broken and what is asked is drawn from a seed (`schedule`, `load`: pure). `fleet` has the processes, `proxy`
the wire to Redis, `model` the scripted model server; `faults` breaks them, `drive` plays the callers. Afterwards
`audit` reads every job's log and says what was lost, doubled or run again, `spending` what was overspent, and `report`
prints it.
"""
