-- Accept a job: check the caps and the experts, write the job, queue its first delivery and its timer.
-- ARGV: job, request, digest, tenant, age ms, deadline ms or '', retention ms, attempts, window, open cap, tenant cap,
--       first ('advance' or 'plan'), replans, plan only ('true' or 'false'), greatest for_each, priority,
--       budget, the tenant's and the day's by the settings (micro-dollars or ''), experts that the request names ...
-- Answers {'ok', expire}, {'again'} for a repeated call, or a refusal: {'conflict'}, {'empty'}, {'unknown', name, known...},
-- {'busy', scope, open, limit}.
local job, request, digest, tenant = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local J = job_key(job)
local now = clock()

local stored = call('HGET', J, 'digest')
if stored then return stored == digest and {'again'} or {'conflict'} end

local version = call('GET', P .. ':catalog')
if not version then return {'empty'} end
for i = 20, #ARGV do
  if call('HEXISTS', P .. ':catalog:' .. version, ARGV[i]) == 0 then
    local answer = {'unknown', ARGV[i]}
    for _, name in ipairs(call('HKEYS', P .. ':catalog:' .. version)) do table.insert(answer, name) end
    return answer
  end
end

for i, scope in ipairs({':open', ':open:' .. tenant}) do
  local open = call('ZCOUNT', P .. scope, now, '+inf')
  if open >= tonumber(ARGV[9 + i]) then return {'busy', i == 1 and 'in all' or 'for tenant ' .. tenant, open, ARGV[9 + i]} end
end

-- the first write is one that a full Redis refuses, so that a full system takes no new jobs
local age = tonumber(ARGV[5])
-- whole, as the times of events are: a tick at its due time must not seem to come before it
local due = math.ceil(now + math.min(age, tonumber(ARGV[6]) or age))
local expire = int(now + age + tonumber(ARGV[7]))
call('HSET', J, 'request', request, 'digest', digest, 'tenant', tenant, 'catalog', version, 'accepted', int(now), 'expire', expire)
if ARGV[16] ~= '0' then call('HSET', J, 'priority', ARGV[16]) end
call('PEXPIREAT', J, expire)
append(job, now, 'accepted', string.format(
  '{"due":%.0f,"deadline":%s,"attempts":%d,"window":%d,"catalog":"%s","replans":%d,"plan_only":%s,"max_items":%d}',
  due, (tonumber(ARGV[6]) or age + 1) <= age and 'true' or 'false', ARGV[8], ARGV[9], version, ARGV[13], ARGV[14], ARGV[15]))
call('PEXPIREAT', J .. ':log', expire)
for _, scope in ipairs({':open', ':open:' .. tenant}) do
  call('ZREMRANGEBYSCORE', P .. scope, '-inf', now)
  call('ZADD', P .. scope, expire, job)
end
enqueue(job, job .. ':@timer:1', 'advance', '', now, due)
if ARGV[12] == 'plan' then
  enqueue(job, job .. ':plan', 'plan', '{"t":null,"f":"plan","a":["' .. job .. '"],"k":{},"et":' .. int(now) .. '}', now)
else
  ask_advance(job, now)
end
return {'ok', expire}
