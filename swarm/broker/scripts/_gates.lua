-- What an endpoint, a model and an expert can take at once and per minute. See gates.py.

-- A delivery no longer runs: its places are free. `gates`: their names, separated by spaces.
function release_gates(id, gates) end
