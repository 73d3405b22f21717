-- Append a piece of a streamed text and publish its id. A full Redis refuses it, since pieces may be lost.
-- ARGV: delivery, owner, subtask ('answer': the job's), attempt, claim, '1' if the text restarts or '', text, cap of entries
-- Returns the entry's id, or 'gone' if the claim is lost or the job has ended (then nothing is written).
local id, owner = ARGV[1], ARGV[2]
local job = job_of(id)
if call('HGET', delivery_key(id), 'owner') ~= owner then return 'gone' end
local f = call('HMGET', job_key(job), 'expire', 'ending')
if not f[1] or f[2] then return 'gone' end
local D = job_key(job) .. ':deltas'
local entry = call('XADD', D, 'MAXLEN', '~', ARGV[8], '*',
  'subtask', ARGV[3], 'attempt', ARGV[4], 'claim', ARGV[5], 'start', ARGV[6], 'text', ARGV[7])
if call('PTTL', D) < 0 then expire_at(D, f[1]) end
call('PUBLISH', P .. ':deltas:' .. job, entry)
return entry
