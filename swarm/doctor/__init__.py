"""What `swarm doctor` makes of what it finds: facts in, findings out. Nothing here looks anywhere by itself.

findings.py   a finding: what it is about, its level, and what to do
names.py      environment variables that look like ours and are not
servers.py    endpoints, and the models that are asked there
tables.py     prices and limits
standing.py   Redis, workers, breakers
catalog.py    what is published
"""
