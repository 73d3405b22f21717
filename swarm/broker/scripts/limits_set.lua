-- Set the limits of a model or an endpoint. ARGV: limiter, limits, cap of limited ones. Returns 'ok' or 'full'.
local L = P .. ':limits'
if call('HEXISTS', L, ARGV[1]) == 0 and call('HLEN', L) >= tonumber(ARGV[3]) then return 'full' end
call('HSET', L, ARGV[1], ARGV[2])
wake_waiting(ARGV[1])
return 'ok'
