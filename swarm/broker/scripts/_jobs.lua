-- Jobs: their log, their decisions, their end.

-- Append an event, give it to those who follow. The id is the job's own count and the time: after a failover that
-- rolled the log back, the same count comes with another time, and a reader sees that its place is gone.
local function append(job, now, kind, data)
  local J = job_key(job)
  local id = call('HINCRBY', J, 'seq', 1) .. '-' .. int(now)
  call('XADD', J .. ':log', id, kind, data)
  call('PUBLISH', P .. ':events:' .. job, id .. ' ' .. kind .. ' ' .. data)
end

-- Ask for `advance`: once queued it need not be asked again; while it runs, it runs once more afterwards.
local function ask_advance(job, now)
  local J = job_key(job)
  local state = call('HGET', J, 'advance')
  if state == 'running' then
    call('HSET', J, 'advance', 'again')
  elseif not state then
    call('HSET', J, 'advance', 'queued')
    local record = '{"t":null,"f":"advance","a":["' .. job .. '"],"k":{},"et":' .. int(now) .. '}'
    enqueue(job, job .. ':advance', 'advance', record, now)
  end
end

-- End a job: the ending and its answer are written, what is queued is withdrawn, what runs is stopped, and every
-- later append finds the job ended. Timers and the router's own deliveries go silently.
local function end_job(job, now, ending, answer, complete)
  local J = job_key(job)
  local live = call('HGETALL', J .. ':live')
  local stopped, withdrawn = {}, {}
  for i = 1, #live, 2 do
    local id, queue = live[i], live[i + 1]
    local owner = call('HGET', delivery_key(id), 'owner')
    local stood = forget(job, id, queue)
    local attempt = string.sub(queue, 1, 4) == 'run:' and string.sub(id, #job + 2)
    if stood == 'leases' then
      stop(id, owner)
      if attempt then table.insert(stopped, attempt) end
    elseif stood and attempt then
      table.insert(withdrawn, attempt)
    end
  end
  table.sort(stopped)
  table.sort(withdrawn)
  call('HSET', J, 'ending', ending, 'answer', answer)
  call('HDEL', J, 'advance')
  local data = {ending = ending, complete = complete}
  if #stopped > 0 then data.stopped = stopped end
  if #withdrawn > 0 then data.withdrawn = withdrawn end
  append(job, now, 'ended', cjson.encode(data))
  -- who waits for the answer alone hears of nothing else, and has it at once unless it is long
  call('PUBLISH', P .. ':over:' .. job, #answer <= 65536 and answer or '')
  call('ZREM', P .. ':open', job)
  call('ZREM', P .. ':open:' .. call('HGET', J, 'tenant'), job)
  call('ZADD', P .. ':ended', now, job)
  call('ZREMRANGEBYRANK', P .. ':ended', 0, -10001)
end

-- What `advance` decides on: everything up to the tail of the log, and the token of the last decision.
local function read_job(job)
  local J = job_key(job)
  local f = call('HMGET', J, 'graph', 'progress', 'cursor', 'token', 'catalog', 'ending')
  local cursor = f[3] or '0'
  local request = not f[2] and call('HGET', J, 'request') or false
  local events = call('XRANGE', J .. ':log', (cursor + 1) .. '-0', '+')
  return {request, f[1], f[2], cursor, f[4], f[5], f[6], events}
end

-- Whoever comes to claim or renew notes that Redis was there. A gap means an outage: for one lease, leases that ran
-- out meanwhile count as held, because their holders had no way to renew them. Says until when.
local function grace(now, lease)
  local S = P .. ':seen'
  local f = call('HMGET', S, 'at', 'grace')
  local till = tonumber(f[2] or '0')
  if now - tonumber(f[1] or '0') > lease / 2 then
    till = now + lease
    call('HSET', S, 'grace', int(till))
  end
  call('HSET', S, 'at', int(now))
  return till
end
