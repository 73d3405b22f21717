-- Note on a dead letter which job its request was submitted as anew. ARGV: delivery, job. Answers 1, or 0 when there is none.
local L = P .. ':dead:' .. ARGV[1]
if call('EXISTS', L) == 0 then return 0 end
even_if_full()
call('HSET', L, 'retried', ARGV[2], 'retried_at', int(clock()))
return 1
