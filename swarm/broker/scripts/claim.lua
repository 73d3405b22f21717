-- Claim deliveries for one lane of a worker.
-- ARGV: worker, lease ms, free slots, limit of lost leases, cap of dead letters, their retention ms, time that the worker
-- measured or '', '*' to read every queue, the name of one to read in any case, or '' to read only queues in the index, then
-- the position of the first queue in the text that follows, and that text: after a line break, a line for each queue,
-- 'NAME LIMITER LIMITER ...', see limiters.py and served_queues.py.
-- Returns {ms until the next due time or -1, {{id, queue, owner, record, extra, waited ms, limited by, limited ms} ...}, time};
-- `extra` is the job's state for `advance`, the number of the round and its request for `plan`.
local worker, lease, free = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local max_lost, dead_kept, dead_ms = tonumber(ARGV[4]), ARGV[5], ARGV[6]
even_if_full()
local now = record_contact(lease, ARGV[7])
-- part of each owner: a Redis that lost its last writes reuses claim numbers, and the nonce tells the claims apart
local nonce = int(now * 1000)
local claimed, started, next_due = {}, {}, nil
-- an integer, which a sorted set stores and compares fastest
local until_then = int(math.ceil(now + lease))

local function soonest(t) if t and (not next_due or t < next_due) then next_due = t end end

local function ended(job) return call('HMGET', job_key(job), 'expire', 'ending') end

-- Turn a delivery that lost its worker too often into a dead letter, and fail its subtask, round, answer or job.
local function make_dead_letter(job, id, queue)
  local f = call('HMGET', delivery_key(id), 'record', 'lost', 'losses', 'fault')
  local why = 'it failed or lost its worker ' .. f[2] .. ' times while it ran'
  if f[4] then why = why .. ', at last with ' .. f[4] end
  local L, D, tenant = P .. ':dead:' .. id, P .. ':dead', call('HGET', job_key(job), 'tenant')
  call('HSET', L, 'record', f[1] or '', 'queue', queue, 'lost', f[2], 'losses', f[3] or '', 'error', f[4] or '',
    'reason', why, 'at', int(now), 'job', job, 'tenant', tenant or '')
  call('PEXPIRE', L, dead_ms)
  -- list entries are trimmed at the age at which letters expire, so that each entry has its letter
  call('XTRIM', D, 'MINID', in_redis(now - dead_ms))
  call('XADD', D, 'MAXLEN', dead_kept, '*', 'delivery', id, 'queue', queue, 'reason', why)
  forget(job, id, queue)
  local failure = {reason = 'poison', message = why}
  if queue == 'advance' then
    local answer = {job = job, ending = 'failed', complete = false, reason = 'deciding what comes next failed: ' .. why}
    return end_job(job, now, 'failed', cjson.encode(answer), false)
  elseif queue == 'plan' then
    local round = tonumber(call('HGET', job_key(job), 'rounds') or '0')
    append(job, now, 'planned', cjson.encode({round = round, failure = failure}))
  elseif queue == 'answer' then
    append(job, now, 'answered', cjson.encode({failure = failure}))
  else
    local subtask, attempt = string.match(id, '^[^:]+:([^:]+):(%d+)$')
    append(job, now, 'outcome', cjson.encode({
      subtask = subtask, attempt = tonumber(attempt), expert = expert_of(queue), failure = failure}))
  end
  ask_advance(job, now)
end

-- Move due deliveries into `ready`, under their original score. Timers need no worker: they fire here.
local function wake_later(queue)
  local later = queue_key(queue, 'later')
  for _, id in ipairs(call('ZRANGEBYSCORE', later, '-inf', now, 'LIMIT', 0, 100)) do
    call('ZREM', later, id)
    local job = job_of(id)
    local f = ended(job)
    if not f[1] or f[2] then
      forget(job, id, queue)
    elseif string.find(id, ':@timer:', 1, true) then
      forget(job, id, queue)
      append(job, now, 'tick', '{}')
      ask_advance(job, now)
    else
      call('ZADD', queue_key(queue, 'ready'), call('HGET', delivery_key(id), 'score') or now, id)
    end
  end
  local head = call('ZRANGE', later, 0, 0, 'WITHSCORES')
  soonest(tonumber(head[2]))
end

-- Make a delivery with an expired lease ready again, unless that happened too often.
local function end_lost_claim(id, queue, D)
  local lost = call('HINCRBY', D, 'lost', 1)
  local owner = call('HGET', D, 'owner')
  if owner and owner ~= '-' then note_loss(id, owner, now, '') end
  call('ZREM', queue_key(queue, 'leases'), id)
  if not call('HGET', D, 'record') then
    call('DEL', D)
  elseif lost >= max_lost then
    make_dead_letter(job_of(id), id, queue)
  else
    unclaim(job_of(id), id, queue)
    -- ahead of all ready ones, even of higher priority: it has waited for a lease already
    local ready = queue_key(queue, 'ready')
    local first = tonumber(call('ZRANGE', ready, 0, 0, 'WITHSCORES')[2] or '') or math.huge
    call('ZADD', ready, math.min(tonumber(call('HGET', D, 'score')) or now, first), id)
  end
end

local function return_lost(queue)
  local leases = queue_key(queue, 'leases')
  for _, id in ipairs(call('ZRANGEBYSCORE', leases, '-inf', cutoff(now), 'LIMIT', 0, 100)) do
    local D = delivery_key(id)
    if is_cancelled(job_of(id), id, queue) and call('HEXISTS', D, 'record') == 1 then
      -- it was told to stop at the cancellation, and is deleted with its job
      call('ZADD', leases, until_then, id)
    else
      end_lost_claim(id, queue, D)
    end
  end
  local head = call('ZRANGE', leases, 0, 0, 'WITHSCORES')
  if head[2] then soonest(now + head[2] - cutoff(now)) end
end

-- Return the ms that a delivery due at `at` has waited, the limiter that held it back longest or '', and for how many of
-- them. `budget`: the kind of budget for which it was parked, which counts as a limiter.
local function waited(at, limiters, budget)
  local ms = math.max(0, math.floor(now - (tonumber(at) or now)))
  if budget then return {ms, 'budget:' .. budget, ms} end
  local longest
  for _, held in ipairs(limiters or {}) do
    if held.since and (not longest or held.since < longest.since) then longest = held end
  end
  local limited = longest and math.min(ms, math.floor(now - longest.since)) or 0
  if limited < 1 then return {ms, '', 0} end
  return {ms, longest.limiter.name, limited}
end

-- Return the same as fields of an event.
local function wait_fields(wait)
  if wait[2] ~= '' then
    return string.format(',"waited":%d,"limited_by":%s,"limited_ms":%d', wait[1], cjson.encode(wait[2]), wait[3])
  end
  return wait[1] > 0 and string.format(',"waited":%d', wait[1]) or ''
end

-- Log the start of a claimed delivery, and return the state that the worker needs.
local function begin(job, id, queue, count, wait)
  local J = job_key(job)
  if queue == 'advance' then
    call('HSET', J, 'advance', 'running')
    return read_job(job)
  elseif queue == 'plan' then
    local round = call('HINCRBY', J, 'rounds', 1)
    append(job, now, 'round_opened', '{"round":' .. round .. '}')
    if round > 1 then ask_advance(job, now) end
    return {round, call('HGET', J, 'request'), call('HGET', J, 'catalog')}
  elseif queue ~= 'answer' then
    local subtask, attempt = string.match(id, '^[^:]+:([^:]+):(%d+)$')
    started[job] = started[job] or {}
    table.insert(started[job], 'started')
    table.insert(started[job], string.format(
      '{"subtask":"%s","attempt":%s,"claim":%d,"worker":"%s","expert":"%s"%s}',
      subtask, attempt, count, worker, expert_of(queue), wait_fields(wait)))
  end
  return false
end

-- Return why a delivery must not begin: 'over' (settled or ended), or 'end' (to be cancelled, or past the job's due time, as
-- after an outage). Nil: it may begin.
local function reason_not_to_begin(job, id, queue)
  local solved = 's:' .. (subtask_of(id, queue) or '')
  local f = call('HMGET', job_key(job), 'expire', 'ending', 'due', solved, cancel_fields(id, queue))
  if not f[1] or f[2] or f[4] then return 'over' end
  if queue ~= 'advance' and ((f[3] and tonumber(f[3]) <= now) or f[5] or f[6] or f[7]) then return 'end' end
end

-- Claim ready deliveries as far as their limiters admit them. Returns whether one holds the queue back, and the last tag.
local function take(queue, words)
  local ready, limiters, last, held = queue_key(queue, 'ready'), nil, nil, false
  while free > 0 and not held do
    local found = call('ZRANGE', ready, 0, math.min(free, 1000) - 1, 'WITHSCORES')
    if #found == 0 then break end
    local taken, leases = {}, {}
    limiters = limiters or (words and limiters_of_queue(words, queue, now))
    for i = 1, #found, 2 do
      local id = found[i]
      local job, D = job_of(id), delivery_key(id)
      local f = call('HMGET', D, 'record', 'at', 'claims', 'awaited')
      local at, opens
      local against = f[1] and reason_not_to_begin(job, id, queue) or not f[1] and 'over'
      if against == 'over' then
        forget(job, id, queue)
      elseif against then
        set_aside(id, queue)
      else
        if limiters then at, opens = first_closed(limiters, now) end
        if at then
          hold_back(at, queue, now)
          soonest(opens)
          held = true
          break
        end
        -- `advance` is queued again under the same id, so its claims are counted in the job, which outlives the delivery
        local count = queue == 'advance' and call('HINCRBY', job_key(job), 'claims', 1) or (tonumber(f[3]) or 0) + 1
        local owner = worker .. ':' .. count .. '~' .. nonce
        call('HSET', D, 'owner', owner, 'claims', count)
        if limiters then call('HSET', D, 'gates', admit(limiters, id, owner, now)) end
        if f[4] then call('HDEL', D, 'awaited') end
        table.insert(taken, id)
        table.insert(leases, until_then)
        table.insert(leases, id)
        local wait = waited(f[2], limiters, f[4])
        table.insert(claimed, {id, queue, owner, f[1], begin(job, id, queue, count, wait), wait[1], wait[2], wait[3]})
        free, last = free - 1, found[i + 1]
      end
    end
    if #taken > 0 then
      in_chunks(taken, function(...) call('ZREM', ready, ...) end)
      in_chunks(leases, function(...) call('ZADD', queue_key(queue, 'leases'), ...) end)
    end
  end
  if limiters and not held and not first_closed(limiters, now) then clear_hold(limiters, queue) end
  return held, last
end

-- Select the served queues to read: usually a few of thousands, so each is searched in the text.
local FEW = 20
local at_any_rate, first, served = ARGV[8], tonumber(ARGV[9]), ARGV[10]
local found, holding, noted = {}, {}, call('SMEMBERS', P .. ':queues')
for _, queue in ipairs(noted) do holding[queue] = true end
if at_any_rate == '*' or #noted > FEW then
  for at, queue, words in string.gmatch(served, '()\n([^ \n]+) ([^\n]*)') do
    if holding[queue] or at_any_rate == '*' or at_any_rate == queue then table.insert(found, {at, queue, words}) end
  end
else
  if at_any_rate ~= '' and not holding[at_any_rate] then table.insert(noted, at_any_rate) end
  for _, queue in ipairs(noted) do
    local at, till = string.find(served, '\n' .. queue .. ' ', 1, true)
    if at then table.insert(found, {at, queue, string.match(served, '[^\n]*', till + 1)}) end
  end
end
table.sort(found, function(a, b)
  if (a[1] < first) ~= (b[1] < first) then return b[1] < first end
  return a[1] < b[1]
end)
local queues, limiters = {}, {}
for i, one in ipairs(found) do
  queues[i] = one[2]
  limiters[one[2]] = one[3] ~= '' and one[3] or nil
end
for _, queue in ipairs(queues) do
  return_lost(queue)
  wake_later(queue)
end
for _, queue in ipairs(queues) do
  local held, last, empty = false, nil, false
  if free > 0 then held, last = take(queue, limiters[queue]) end
  if held then
    -- the limiter wakes it when a place is free; until then no worker need look
    call('DEL', queue_key(queue, 'wake'))
    tokens[queue] = nil
  elseif call('ZCARD', queue_key(queue, 'ready')) > 0 then
    wake(queue)
  else
    empty = true
  end
  if last and queue ~= 'advance' then turn_to(queue, last, empty) end
  -- processes of an older version enqueue without adding to the index
  if drop_if_empty(queue) and not holding[queue] then note_queue(queue) end
end
for job, events in pairs(started) do append_all(job, now, events) end
write_admissions(now, lease)
return {next_due and next_due < math.huge and int(math.ceil(math.max(0, next_due - now))) or '-1', claimed, int(now)}
