-- Record on a dead letter the job that a retry has submitted. ARGV: delivery, job. Returns 1, or 0 if there is no letter.
local L = P .. ':dead:' .. ARGV[1]
if call('EXISTS', L) == 0 then return 0 end
even_if_full()
call('HSET', L, 'retried', ARGV[2], 'retried_at', int(clock()))
return 1
