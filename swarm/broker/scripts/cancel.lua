-- Ask to cancel a job. ARGV: job. Answers 'asked', 'ended' or 'unknown'.
local job, now = ARGV[1], clock()
local f = call('HMGET', job_key(job), 'expire', 'ending', 'cancel')
if not f[1] then return 'unknown' end
if f[2] then return 'ended' end
if not f[3] then
  even_if_full()
  call('HSET', job_key(job), 'cancel', '1')
  append(job, now, 'cancel_asked', '{}')
  ask_advance(job, now)
end
return 'asked'
