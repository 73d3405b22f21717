-- Append an event of a running delivery, and request `advance`. ARGV: id, queue, owner, event, data.
-- Returns 'ok', or 'gone' if the claim is lost or the job has ended. A retry may append twice, so the event must mean the
-- same then.
local id, owner = ARGV[1], ARGV[3]
local job, now = job_of(id), clock()
if call('HGET', delivery_key(id), 'owner') ~= owner then return 'gone' end
local f = call('HMGET', job_key(job), 'expire', 'ending')
if not f[1] or f[2] then return 'gone' end
even_if_full()
append(job, now, ARGV[4], ARGV[5])
ask_advance(job, now)
return 'ok'
