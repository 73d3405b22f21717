-- Claim deliveries for one lane of a worker.
-- ARGV: worker, lease ms, free slots, greatest number of lost leases, dead kept, dead retention ms, queues ...
-- Answers {ms until the next due time or -1, {id, queue, owner, record, extra} ...}; `extra` is the job's state for
-- `advance`, the round's number for `plan`.
local worker, lease, free = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local max_lost, dead_kept, dead_ms = tonumber(ARGV[4]), ARGV[5], ARGV[6]
local now = clock()
even_if_full()
local in_grace = grace(now, lease) > now
local claimed, next_due = {}, nil

local function soonest(t) if t and (not next_due or t < next_due) then next_due = t end end

local function ended(job) return call('HMGET', job_key(job), 'expire', 'ending') end

-- A delivery that lost its worker too often settles what it stood for, and is kept for a person to look at.
local function bury(job, id, queue)
  local D = delivery_key(id)
  local f = call('HMGET', D, 'record', 'lost', 'owner', 'claims')
  local why = 'it failed or lost its worker ' .. f[2] .. ' times while it ran'
  local L = P .. ':dead:' .. id
  call('HSET', L, 'record', f[1] or '', 'queue', queue, 'lost', f[2], 'owner', f[3] or '', 'reason', why, 'at', int(now))
  call('PEXPIRE', L, dead_ms)
  call('XADD', P .. ':dead', 'MAXLEN', dead_kept, '*', 'delivery', id, 'queue', queue, 'reason', why)
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

-- Move what fell due into `ready`, under the score it was first queued with. Timers need no worker: they tick here.
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

local function return_lost(queue)
  local leases = queue_key(queue, 'leases')
  if not in_grace then
    for _, id in ipairs(call('ZRANGEBYSCORE', leases, '-inf', now, 'LIMIT', 0, 100)) do
      local D = delivery_key(id)
      local lost = call('HINCRBY', D, 'lost', 1)
      call('ZREM', leases, id)
      if not call('HGET', D, 'record') then
        call('DEL', D)
      elseif lost >= max_lost then
        bury(job_of(id), id, queue)
      else
        call('HDEL', D, 'owner')
        call('ZADD', queue_key(queue, 'ready'), call('HGET', D, 'score') or now, id)
      end
    end
  end
  local head = call('ZRANGE', leases, 0, 0, 'WITHSCORES')
  if head[2] then soonest(math.max(tonumber(head[2]), in_grace and tonumber(call('HGET', P .. ':seen', 'grace')) or 0)) end
end

-- What the claim itself puts on record, and hands over so that the worker need not ask again.
local function begin(job, id, queue, owner, count)
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
    append(job, now, 'started', string.format(
      '{"subtask":"%s","attempt":%s,"claim":%d,"worker":"%s","expert":"%s"}',
      subtask, attempt, count, worker, expert_of(queue)))
  end
  return false
end

local function wanted(job, id, queue)
  local f = ended(job)
  if not f[1] or f[2] then return false end
  local subtask = string.sub(queue, 1, 4) == 'run:' and string.match(id, '^[^:]+:([^:]+):')
  return not subtask or call('HEXISTS', job_key(job), 's:' .. subtask) == 0
end

local function take(queue)
  local ready = queue_key(queue, 'ready')
  while free > 0 do
    local ids = call('ZRANGE', ready, 0, free - 1)
    if #ids == 0 then return end
    for _, id in ipairs(ids) do
      local job, D = job_of(id), delivery_key(id)
      local record = call('HGET', D, 'record')
      call('ZREM', ready, id)
      if not record or not wanted(job, id, queue) then
        forget(job, id, queue)
      else
        -- `advance` is queued again under the same id, so its claims are counted where they are not forgotten
        local counted = queue == 'advance' and job_key(job) or D
        local count = call('HINCRBY', counted, 'claims', 1)
        local owner = worker .. ':' .. count
        call('HSET', D, 'owner', owner)
        call('ZADD', queue_key(queue, 'leases'), now + lease, id)
        table.insert(claimed, {id, queue, owner, record, begin(job, id, queue, owner, count)})
        free = free - 1
      end
    end
  end
end

for i = 7, #ARGV do
  return_lost(ARGV[i])
  wake_later(ARGV[i])
end
for i = 7, #ARGV do
  if free > 0 then take(ARGV[i]) end
  if call('ZCARD', queue_key(ARGV[i], 'ready')) > 0 then wake(ARGV[i]) end
end
return {next_due and int(math.ceil(math.max(0, next_due - now))) or '-1', claimed}
