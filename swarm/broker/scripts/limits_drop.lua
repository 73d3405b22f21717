-- Delete the limits of a model or an endpoint. ARGV: limiter. Returns 1, or 0 if there were none.
local dropped = call('HDEL', P .. ':limits', ARGV[1])
wake_waiting(ARGV[1])
return dropped
