-- Ask to cancel a job, or one subtask of it. ARGV: job, subtask or ''. Answers 'asked', 'ended' or 'unknown'.
-- A job that is to be cancelled has no other ending any more, so what runs for it is told to stop now: however many wait
-- for a decision, nothing more is spent. Its deliveries stay claimed until the decision ends the job.
local job, subtask, now = ARGV[1], ARGV[2], clock()
local asked = subtask == '' and 'cancel' or 'cancel:' .. subtask
local f = call('HMGET', job_key(job), 'expire', 'ending', asked)
if not f[1] then return 'unknown' end
if f[2] then return 'ended' end
if not f[3] then
  even_if_full()
  call('HSET', job_key(job), asked, '1')
  append(job, now, 'cancel_asked', subtask == '' and '{}' or cjson.encode({subtask = subtask}))
  ask_advance(job, now)
  local live = subtask == '' and call('HGETALL', job_key(job) .. ':live') or {}
  for i = 1, #live, 2 do
    if live[i + 1] ~= 'advance' then stop(live[i], call('HGET', delivery_key(live[i]), 'owner')) end
  end
end
return 'asked'
