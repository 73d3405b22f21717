-- Request the cancellation of a job or of one subtask. ARGV: job, subtask or ''. Returns 'asked', 'ended' or 'unknown'.
local job, subtask, now = ARGV[1], ARGV[2], clock()
local asked = subtask == '' and 'cancel' or 'cancel:' .. subtask
local f = call('HMGET', job_key(job), 'expire', 'ending', asked)
if not f[1] then return 'unknown' end
if f[2] then return 'ended' end
if not f[3] then
  even_if_full()
  if subtask == '' then
    ask_cancel(job, now)
    cancel_children(job, now)
  else
    call('HSET', job_key(job), asked, '1')
    append(job, now, 'cancel_asked', cjson.encode({subtask = subtask}))
    ask_advance(job, now)
  end
end
return 'asked'
