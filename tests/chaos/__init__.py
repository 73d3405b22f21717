"""The proof of delivery: `python -m tests.chaos` runs a mixed load on real processes while it breaks them.

What is broken and what is asked is drawn from a seed (`schedule`, `load`: pure). `fleet` has the processes, `proxy`
the wire to Redis, `shims` its disk and its clock, `model` the scripted model server; `faults` breaks them, `drive`
plays the callers, `stalls` measures how slow the machine is, `clock` by how much the dates of events are off. What is
left is read once (`evidence`), and `audit` judges it: by what each part and answer should have been (`script`,
`oracle`, `runs`, `parts`, `answers`), how and when each job should have ended (`endings`, `timing`), for what there is
a fault (`causes`) and what it cost (`spending`); `children` holds the jobs that an expert (`lead`) asked for against
the one that they are a part of.
`report` prints it. That the audit sees: `mutations` alters what a run left, `mutants` the processes themselves.
"""
