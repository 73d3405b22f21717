-- What jobs may spend and have spent, in micro-dollars. See ledger.py.

-- A delivery's claim is over, and calls that it had reserved for were neither settled nor released: what became of them
-- is unknown, so they count as spent (`presumed`) until somebody knows better.
function money_lost(job, id) end
