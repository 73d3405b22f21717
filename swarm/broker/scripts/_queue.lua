-- Deliveries: where they stand, and how they leave.

-- What enqueueing asks of a job, read once for each script.
local jobs, tenants = {}, {}

local function facts_of(job)
  if not jobs[job] then
    local f = call('HMGET', job_key(job), 'expire', 'tenant', 'priority')
    jobs[job] = {expire = f[1], tenant = f[2], priority = tonumber(f[3]) or 0}
  end
  return jobs[job]
end

local function weight_of(tenant)
  if not tenants[tenant] then tenants[tenant] = tonumber(call('HGET', P .. ':tenants', tenant .. ':weight')) or 1 end
  return tenants[tenant]
end

-- Turns: a queue serves by tags. A delivery's tag is where its tenant's last one ended, or where the queue is by now if
-- that is later; it ends one step further, and steps are the shorter the more a tenant weighs. So tenants that both
-- have work waiting get shares like their weights, whoever came first, and who comes late has nothing to catch up.
-- `turns` of a queue holds where each tenant's last one ends and, under '', where the queue is. Tags begin as times.
local turns = {}

local function turn_of(job, queue, now)
  local facts = facts_of(job)
  local weight = weight_of(facts.tenant)
  turns[queue] = turns[queue] or {ends = {}}
  local t = turns[queue]
  if not t.ends[facts.tenant] then
    local f = call('ZMSCORE', queue_key(queue, 'turns'), '', facts.tenant)
    -- whole: short sorted sets keep whole scores as numbers, and others as text that each comparison reads again
    t.at = t.at or tonumber(f[1]) or math.floor(now)
    t.ends[facts.tenant] = tonumber(f[2]) or t.at
  end
  local tag = math.max(t.at, t.ends[facts.tenant])
  t.ends[facts.tenant] = tag + 1 / weight
  -- a head start that is bounded: who came before by more than that is served before
  return tag - 100 * facts.priority / weight
end

-- Write down how far tenants have come. Every script that enqueues to other queues than `advance` ends with it.
local function keep_turns()
  for queue, t in pairs(turns) do
    call('ZADD', queue_key(queue, 'turns'), 'NX', string.format('%.3f', t.at), '')
    local scores = {}
    for tenant, ends in pairs(t.ends) do
      table.insert(scores, string.format('%.3f', ends))
      table.insert(scores, tenant)
    end
    in_chunks(scores, function(...) call('ZADD', queue_key(queue, 'turns'), ...) end)
    call('PEXPIRE', queue_key(queue, 'turns'), TURNS_MS)
  end
  turns = {}
end

-- A queue has come to `tag`: tenants that ended before it need not be remembered, and none once nothing waits there.
local function turn_to(queue, tag, empty)
  local key = queue_key(queue, 'turns')
  if empty then
    local at = call('ZSCORE', key, '')
    call('DEL', key)
    call('ZADD', key, tonumber(at or tag) > tonumber(tag) and at or tag, '')
  else
    call('ZADD', key, 'GT', tag, '')
    call('ZREMRANGEBYSCORE', key, '-inf', '(' .. tag)
    call('ZREMRANGEBYRANK', key, 1, -10001)
  end
  call('PEXPIRE', key, TURNS_MS)
end

-- Store a delivery and queue it: now, or for the time `due`. One that is there already is left as it is. A timer, which has
-- no record as nobody runs it, is queued for its time also where that is past.
local function enqueue(job, id, queue, record, now, due)
  local J, D = job_key(job), delivery_key(id)
  if call('HSETNX', J .. ':live', id, queue) == 0 then return end
  local facts, later = facts_of(job), due and (due > now or record == '')
  if not facts.live then
    expire_at(J .. ':live', facts.expire)
    facts.live = true
  end
  local score = string.format('%.3f', queue == 'advance' and now or turn_of(job, queue, now))
  call('HSET', D, 'record', record, 'queue', queue, 'score', score, 'at', int(later and due or now))
  expire_at(D, facts.expire)
  note_queue(queue)
  if later then
    call('ZADD', queue_key(queue, 'later'), due, id)
    -- whoever waits looks again within half a second anyway; for less it must learn of the new next time
    if due - now < 500 then wake(queue) end
  else
    call('ZADD', queue_key(queue, 'ready'), score, id)
    wake(queue)
  end
end

-- The subtask of a delivery to an expert, and the one whose item that is: nil for what goes to a router.
local function subtask_of(id, queue)
  if string.sub(queue, 1, 4) ~= 'run:' then return end
  local subtask = string.match(id, '^[^:]+:([^:]+):')
  return subtask, string.match(subtask, '^[^#]+')
end

-- The fields of a job that ask for the end of this delivery.
local function cancel_fields(id, queue)
  local subtask, whole = subtask_of(id, queue)
  if not subtask then return 'cancel' end
  return 'cancel', 'cancel:' .. subtask, 'cancel:' .. whole
end

-- Whether the end of a delivery's job or subtask was asked for: then it neither starts nor goes on. `advance` does, which
-- brings that end about.
local function is_cancelled(job, id, queue)
  local f = queue ~= 'advance' and call('HMGET', job_key(job), cancel_fields(id, queue)) or {}
  return (f[1] or f[2] or f[3]) and true or false
end

-- Take a ready delivery whose end was asked for out of the way of others. It is withdrawn by the decision to come.
local function set_aside(id, queue)
  call('HSET', delivery_key(id), 'aside', '1')
  call('ZREM', queue_key(queue, 'ready'), id)
end

-- Forget a delivery wherever it stands. Says where it stood: 'leases', 'ready', 'later', 'parked', 'aside' or nil.
local function forget(job, id, queue)
  local f = call('HMGET', delivery_key(id), 'gates', 'holds', 'parked', 'aside')
  if f[1] then release_gates(id, f[1], false, f[2]) end
  if f[2] then money_lost(job, id) end
  call('HDEL', job_key(job) .. ':live', id)
  if jobs[job] then jobs[job].live = false end
  call('DEL', delivery_key(id))
  if f[3] and call('ZREM', P .. ':parked:' .. f[3], id) == 1 then return 'parked' end
  local stood = f[4] and 'aside'
  for _, part in ipairs({'leases', 'ready', 'later'}) do
    stood = stood or call('ZREM', queue_key(queue, part), id) == 1 and part
  end
  -- it was to go on, and leaves the room to others
  if f[3] then make_room(f[3]) end
  return stood or nil
end

-- Tell the worker that holds a delivery to stop it. Says whether there is one: what was handed back as lost has none.
local function stop(id, owner)
  local worker = owner and worker_of(owner)
  if worker then call('PUBLISH', P .. ':stop:' .. worker, id .. ' ' .. owner) end
  return worker ~= nil
end

-- A worker was lost over a delivery, or gave it up because of `fault`: kept in case it becomes a dead letter.
local function note_loss(id, owner, now, fault)
  local D = delivery_key(id)
  call('HSET', D, 'losses', (call('HGET', D, 'losses') or '') .. owner .. ' ' .. int(now) .. '\n')
  if fault ~= '' then call('HSET', D, 'fault', fault) end
end

-- A claim is over and the delivery stays: its lease, its places and its reservations are not its own any more, and it
-- waits from now on. `unused`: nothing was begun. Says whether it had a lease.
local function unclaim(job, id, queue, unused)
  local D = delivery_key(id)
  local f = call('HMGET', D, 'gates', 'holds')
  if f[1] then release_gates(id, f[1], unused, f[2]) end
  if f[2] then money_lost(job, id) end
  call('HDEL', D, 'owner', 'gates')
  call('HSET', D, 'at', int(clock()))
  return call('ZREM', queue_key(queue, 'leases'), id) == 1
end

-- A delivery may be claimed again, in the place that it had.
function to_ready(id, queue)
  note_queue(queue)
  call('ZADD', queue_key(queue, 'ready'), call('HGET', delivery_key(id), 'score'), id)
  wake(queue)
end

-- Deliveries that wait for room in a budget go on, in the order of their places, as long as what they need fits into `room`
-- together or is more than `most`, so that it never will. With nothing open the first one always goes on, and of each queue
-- as many as fit, for another queue may have nobody who serves it. They keep the field `parked` until they have reserved:
-- one that is done without makes others go on instead.
function unpark(scope, room, most)
  local key, open, left = P .. ':parked:' .. scope, room < most, {}
  for _, id in ipairs(call('ZRANGE', key, 0, open and 99 or 999)) do
    local D = delivery_key(id)
    local f = call('HMGET', D, 'queue', 'need')
    local need, share = tonumber(f[2]) or 0, not open and f[1] or ''
    left[share] = left[share] or room
    if need > most or need <= left[share] then
      if need <= most then left[share] = left[share] - need end
      call('ZREM', key, id)
      if f[1] then to_ready(id, f[1]) end
    elseif open then
      return
    else
      left[share] = -1
    end
  end
end
