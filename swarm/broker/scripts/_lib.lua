-- What every script shares; put in front of each by scripts.py. KEYS[1] is the prefix of all our keys.
-- A script is the only writer of more than one key, so a job is never half there. All times are Redis' own.

local P = KEYS[1]
local call = redis.call

-- Milliseconds, with microseconds behind the point: scores keep the order of enqueueing.
local function clock()
  local t = call('TIME')
  return t[1] * 1000 + t[2] / 1000
end

-- A Redis without memory refuses a script unless it began with a write that needs none. Only new jobs are to be refused:
-- what was accepted goes on, or a full Redis could never empty itself.
local function even_if_full() call('HDEL', P .. ':seen', '') end

local function int(x) return string.format('%.0f', math.floor(x)) end

local function job_key(job) return P .. ':job:' .. job end
local function delivery_key(id) return P .. ':delivery:' .. id end
local function queue_key(queue, part) return P .. ':queue:' .. queue .. ':' .. part end
local function expert_of(queue) return string.match(queue, '^run:([^@]+)') end
local function job_of(id) return string.match(id, '^([^:]+)') end

-- Wake one worker that waits for this queue. Tokens are few: whoever leaves work behind passes one on.
local function wake(queue)
  local list = queue_key(queue, 'wake')
  if call('LLEN', list) < 4 then call('RPUSH', list, '1') end
end

-- Append an event, give it to those who follow. The id is the job's own count and the time: after a failover that
-- rolled the log back, the same count comes with another time, and a reader sees that its place is gone.
local function append(job, now, kind, data)
  local J = job_key(job)
  local id = call('HINCRBY', J, 'seq', 1) .. '-' .. int(now)
  call('XADD', J .. ':log', id, kind, data)
  call('PUBLISH', P .. ':events:' .. job, id .. ' ' .. kind .. ' ' .. data)
end

-- Store a delivery and queue it: now, or for the time `due`. One that is there already is left as it is.
local function enqueue(job, id, queue, record, now, due)
  local J, D = job_key(job), delivery_key(id)
  if call('HSETNX', J .. ':live', id, queue) == 0 then return end
  local expire = call('HGET', J, 'expire')
  call('PEXPIREAT', J .. ':live', expire)
  call('HSET', D, 'record', record, 'queue', queue, 'score', string.format('%.3f', now))
  call('PEXPIREAT', D, expire)
  if due and due > now then
    call('ZADD', queue_key(queue, 'later'), due, id)
    -- whoever waits looks again within half a second anyway; for less it must learn of the new next time
    if due - now < 500 then wake(queue) end
  else
    call('ZADD', queue_key(queue, 'ready'), now, id)
    wake(queue)
  end
end

-- Forget a delivery wherever it stands. Says where it stood: 'leases', 'ready', 'later' or nil.
local function forget(job, id, queue)
  call('HDEL', job_key(job) .. ':live', id)
  call('DEL', delivery_key(id))
  for _, part in ipairs({'leases', 'ready', 'later'}) do
    if call('ZREM', queue_key(queue, part), id) == 1 then return part end
  end
end

-- Tell the worker that holds a delivery to stop it.
local function stop(id, owner)
  local worker = owner and string.match(owner, '^(.*):%d+$')
  if worker then call('PUBLISH', P .. ':stop:' .. worker, id .. ' ' .. owner) end
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
