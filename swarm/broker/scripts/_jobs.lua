-- Jobs: log, decisions and ending.

-- Append events (kind, data, kind, data ...) and publish the id of the last. An id is the job's own count and the time:
-- after a failover that rolled the log back, the same count comes with another time, and a reader sees that its position
-- no longer exists.
local function append_all(job, now, events)
  local J, stamp, count = job_key(job), '-' .. int(now), #events / 2
  local seq = call('HINCRBY', J, 'seq', count) - count
  for i = 1, count do
    call('XADD', J .. ':log', seq + i .. stamp, events[2 * i - 1], events[2 * i])
  end
  call('PUBLISH', P .. ':events:' .. job, seq + count .. stamp)
end

local function append(job, now, kind, data) append_all(job, now, {kind, data}) end

-- Return the arq record of a router's delivery: the function `kind`, called with the job.
local function router_record(kind, job, now)
  return '{"t":null,"f":"' .. kind .. '","a":["' .. job .. '"],"k":{},"et":' .. int(now) .. '}'
end

-- Request `advance`: a queued one suffices; a running one runs once more afterwards.
local function ask_advance(job, now)
  local J = job_key(job)
  local state = call('HGET', J, 'advance')
  if state == 'running' then
    call('HSET', J, 'advance', 'again')
  elseif not state then
    call('HSET', J, 'advance', 'queued')
    enqueue(job, job .. ':advance', 'advance', router_record('advance', job, now), now)
  end
end

-- Pace of endings, of all jobs (scope '') or a tenant's (':NAME'), as 'since worked ended gap'. `gap`: mean ms between two
-- endings, recent ones weighted most. Not yet in that mean: `ended` jobs in `worked` ms until `since`. Time without open
-- jobs does not count; `since` is then 0 until the next ending.
local PACE_MS, PACE_STEP_MS, PACE_SHARE = 600000, 1000, 0.3

local function count_ending(scope, now, accepted)
  local key = P .. ':pace' .. scope
  local since, worked, ended, gap = string.match(call('GET', key) or '', '^(%S+) (%S+) (%S+) (%S+)$')
  since, worked, ended, gap = tonumber(since) or 0, tonumber(worked) or 0, (tonumber(ended) or 0) + 1, tonumber(gap) or 0
  worked = worked + math.max(0, now - (since > 0 and since or accepted))
  if worked >= PACE_STEP_MS then
    gap = gap == 0 and worked / ended or gap + PACE_SHARE * (worked / ended - gap)
    worked, ended = 0, 0
  end
  since = call('ZCARD', P .. ':open' .. scope) > 0 and now or 0
  call('SET', key, string.format('%.0f %.0f %d %.3f', since, worked, ended, gap), 'PX', PACE_MS)
end

-- Request the cancellation of an open job. No other ending is possible then, so its running deliveries are told to stop at
-- once: nothing more is spent, however long the decision takes. They stay claimed until the decision ends the job.
local function ask_cancel(job, now)
  call('HSET', job_key(job), 'cancel', '1')
  append(job, now, 'cancel_asked', '{}')
  ask_advance(job, now)
  local live = call('HGETALL', job_key(job) .. ':live')
  for i = 1, #live, 2 do
    if live[i + 1] ~= 'advance' then stop(live[i], call('HGET', delivery_key(live[i]), 'owner')) end
  end
end

-- Cancel the child jobs of a job, whose answers nobody will read.
local function cancel_children(job, now)
  for _, child in ipairs(call('SMEMBERS', job_key(job) .. ':children')) do
    local f = call('HMGET', job_key(child), 'expire', 'ending', 'cancel')
    if f[1] and not f[2] and not f[3] then ask_cancel(child, now) end
  end
end

-- Bytes that a tenant's jobs keep in Redis: requests, results and answers. The hash `held` counts them by the ten minutes
-- in which they expire; `sum` is the total of those not expired at `step`, `limit` the bytes that the tenant may keep.
local HELD_STEP_MS, HELD_MS = 600000, 70 * 86400000

local function held_key(tenant) return P .. ':held:' .. tenant end
local function held_step(ms) return int(tonumber(ms) / HELD_STEP_MS) end

-- Return the bytes that a tenant's jobs keep, their limit, and the steps that expired since the last write.
local function held_by(tenant, now)
  local H, step = held_key(tenant), held_step(now)
  local f, sum, past = call('HMGET', H, 'sum', 'step', 'limit'), 0, {}
  if f[2] == step then return tonumber(f[1]), tonumber(f[3]), past end
  local all = call('HGETALL', H)
  for i = 1, #all, 2 do
    local till = tonumber(all[i])
    if till and till < tonumber(step) then
      table.insert(past, all[i])
    elseif till then
      sum = sum + all[i + 1]
    end
  end
  return sum, tonumber(f[3]), past
end

-- Count `bytes` of a job that expires at `expire`.
local function hold_bytes(tenant, now, expire, bytes)
  local H, till = held_key(tenant), held_step(expire)
  local sum, _, past = held_by(tenant, now)
  call('HSET', H, 'sum', int(sum + bytes), 'step', held_step(now))
  if call('HINCRBY', H, till, int(bytes)) <= 0 then call('HDEL', H, till) end
  if #past > 0 then in_chunks(past, function(...) call('HDEL', H, ...) end) end
  call('PEXPIRE', H, HELD_MS)
end

-- Start the retention of an ended job and of its bytes, including its answer. A job that an older version accepted keeps its
-- lifetime.
local function keep_ended(job, now, answer)
  local J = job_key(job)
  local f = call('HMGET', J, 'retention', 'expire', 'held', 'tenant')
  local expire = f[1] and int(now + f[1]) or f[2]
  hold_bytes(f[4], now, f[2], -(f[3] or 0))
  hold_bytes(f[4], now, expire, (f[3] or 0) + #answer)
  call('HSET', J, 'expire', expire)
  for _, part in ipairs({'', ':log', ':bodies', ':deltas', ':children', ':money'}) do expire_at(J .. part, expire) end
end

-- End a job: write its ending and answer, withdraw queued deliveries and stop running ones; every later append finds the
-- job ended. Timers and deliveries of the router are deleted without an event.
local function end_job(job, now, ending, answer, complete)
  local J = job_key(job)
  local live = call('HGETALL', J .. ':live')
  local stopped, withdrawn = {}, {}
  defer_rooms()
  for i = 1, #live, 2 do
    local id, queue = live[i], live[i + 1]
    local owner = call('HGET', delivery_key(id), 'owner')
    local stood = forget(job, id, queue)
    local attempt = string.sub(queue, 1, 4) == 'run:' and string.sub(id, #job + 2)
    if stood == 'leases' and stop(id, owner) then
      if attempt then table.insert(stopped, attempt) end
    elseif stood and attempt then
      table.insert(withdrawn, attempt)
    end
  end
  cancel_children(job, now)
  table.sort(stopped)
  table.sort(withdrawn)
  call('HSET', J, 'ending', ending, 'answer', answer)
  call('HDEL', J, 'advance')
  local data = {ending = ending, complete = complete}
  data.settled, data.presumed = close_entry(job)
  make_deferred_rooms()
  if #stopped > 0 then data.stopped = stopped end
  if #withdrawn > 0 then data.withdrawn = withdrawn end
  append(job, now, 'ended', cjson.encode(data))
  keep_ended(job, now, answer)
  -- clients that wait only for the answer subscribe to this channel alone. It carries the answer unless that is long, or
  -- has a cost, which clients read from the ledger
  call('PUBLISH', P .. ':over:' .. job, #answer <= 65536 and not data.settled and answer or '')
  local f = call('HMGET', J, 'tenant', 'accepted')
  for _, scope in ipairs({'', ':' .. f[1]}) do
    call('ZREM', P .. ':open' .. scope, job)
    count_ending(scope, now, tonumber(f[2]))
  end
  call('ZADD', P .. ':ended', now, job)
  call('ZREMRANGEBYRANK', P .. ':ended', 0, -10001)
end

-- Read the input of `advance`: the state, the log up to its tail, and the token of the last decision.
local function read_job(job)
  local J = job_key(job)
  local f = call('HMGET', J, 'graph', 'progress', 'cursor', 'token', 'catalog', 'ending')
  local cursor = f[3] or '0'
  local request = not f[2] and call('HGET', J, 'request') or false
  local events = call('XRANGE', J .. ':log', (cursor + 1) .. '-0', '+')
  return {request, f[1], f[2], cursor, f[4], f[5], f[6], events}
end
