-- Store what a delivery came to, append it to the log, ask for `advance` and acknowledge: one step.
-- ARGV: id, queue, owner, event, data, body key or '', body, subtask that this solves or ''
-- Answers 'ok', or 'gone' when the claim is no longer held (then nothing is written; a repeated call finds this too).
local id, queue, owner = ARGV[1], ARGV[2], ARGV[3]
local job, now = job_of(id), clock()
local J = job_key(job)
if call('HGET', delivery_key(id), 'owner') ~= owner then return 'gone' end
forget(job, id, queue)
if call('HGET', J, 'ending') or call('EXISTS', J) == 0 then return 'ok' end
if ARGV[6] ~= '' then
  call('HSETNX', J .. ':bodies', ARGV[6], ARGV[7])
  call('PEXPIREAT', J .. ':bodies', call('HGET', J, 'expire'))
end
if ARGV[8] ~= '' then call('HSETNX', J, 's:' .. ARGV[8], ARGV[6]) end
append(job, now, ARGV[4], ARGV[5])
ask_advance(job, now)
return 'ok'
