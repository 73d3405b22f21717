-- Deliveries: enqueueing, fair order, removal, return and parking.

-- Facts of jobs that enqueueing needs, read once per script run.
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

-- Weighted fair queueing: a queue serves deliveries by tag. A delivery's tag is the end of its tenant's last one, or the
-- position of the queue if that is later; it ends one step further, and a step is 1 / weight. So tenants with waiting work
-- get shares by weight, in whatever order they came, and a tenant that comes late has nothing to catch up.
-- `turns` of a queue holds the end of each tenant's last delivery and, under '', the position of the queue. The first tag
-- is a time.
local turns = {}

local function turn_of(job, queue, now)
  local facts = facts_of(job)
  local weight = weight_of(facts.tenant)
  turns[queue] = turns[queue] or {ends = {}}
  local t = turns[queue]
  if not t.ends[facts.tenant] then
    local f = call('ZMSCORE', queue_key(queue, 'turns'), '', facts.tenant)
    -- integers: short sorted sets keep them as numbers, and other scores as text that each comparison parses
    t.at = t.at or tonumber(f[1]) or math.floor(now)
    t.ends[facts.tenant] = tonumber(f[2]) or t.at
  end
  local tag = math.max(t.at, t.ends[facts.tenant])
  t.ends[facts.tenant] = tag + 1 / weight
  -- priority is a bounded head start: a delivery that came earlier by more than that is served first
  return tag - 100 * facts.priority / weight
end

-- Write the positions of tenants. Every script that enqueues to queues other than `advance` ends with it.
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

-- Move the position of a queue to `tag`: drop tenants whose last delivery ended before it, and all if the queue is empty.
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

-- Store a delivery and queue it: now, or for the time `due`. An existing one is left as it is. A timer has no record, since
-- no worker runs it, and is queued under its time even if that is past.
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
    -- waiting workers look again within half a second anyway; for an earlier time they must be woken
    if due - now < 500 then wake(queue) end
  else
    call('ZADD', queue_key(queue, 'ready'), score, id)
    wake(queue)
  end
end

-- Return the subtask of a delivery to an expert, and its parent if it is an item; nil for deliveries to a router.
local function subtask_of(id, queue)
  if string.sub(queue, 1, 4) ~= 'run:' then return end
  local subtask = string.match(id, '^[^:]+:([^:]+):')
  return subtask, string.match(subtask, '^[^#]+')
end

-- Return the fields of a job that request the cancellation of this delivery.
local function cancel_fields(id, queue)
  local subtask, whole = subtask_of(id, queue)
  if not subtask then return 'cancel' end
  return 'cancel', 'cancel:' .. subtask, 'cancel:' .. whole
end

-- Whether the cancellation of a delivery's job or subtask was requested: then it neither starts nor goes on. `advance` does,
-- since it carries the cancellation out.
local function is_cancelled(job, id, queue)
  local f = queue ~= 'advance' and call('HMGET', job_key(job), cancel_fields(id, queue)) or {}
  return (f[1] or f[2] or f[3]) and true or false
end

-- Take a cancelled delivery out of `ready`, so that it blocks no others. The next decision withdraws it.
local function set_aside(id, queue)
  call('HSET', delivery_key(id), 'aside', '1')
  call('ZREM', queue_key(queue, 'ready'), id)
end

-- Delete a delivery wherever it is. Returns where it was: 'leases', 'ready', 'later', 'parked', 'aside' or nil.
local function forget(job, id, queue)
  local f = call('HMGET', delivery_key(id), 'gates', 'holds', 'parked', 'aside')
  if f[1] then release_limiters(id, f[1], false, f[2]) end
  if f[2] then presume_reservations(job, id) end
  call('HDEL', job_key(job) .. ':live', id)
  if jobs[job] then jobs[job].live = false end
  call('DEL', delivery_key(id))
  if f[3] and call('ZREM', P .. ':parked:' .. f[3], id) == 1 then return 'parked' end
  local stood = f[4] and 'aside'
  for _, part in ipairs({'leases', 'ready', 'later'}) do
    stood = stood or call('ZREM', queue_key(queue, part), id) == 1 and part
  end
  -- it had been resumed but not reserved, so its room goes to others
  if f[3] then make_room(f[3]) end
  return stood or nil
end

-- Tell the worker that holds a delivery to stop it. Returns whether there is one: a delivery returned as lost has none.
local function stop(id, owner)
  local worker = owner and worker_of(owner)
  if worker then call('PUBLISH', P .. ':stop:' .. worker, id .. ' ' .. owner) end
  return worker ~= nil
end

-- Record the loss of a claim, or its return because of `fault`, in case the delivery becomes a dead letter.
local function note_loss(id, owner, now, fault)
  local D = delivery_key(id)
  call('HSET', D, 'losses', (call('HGET', D, 'losses') or '') .. owner .. ' ' .. int(now) .. '\n')
  if fault ~= '' then call('HSET', D, 'fault', fault) end
end

-- End a claim but keep the delivery: release its lease, places and reservations; its wait begins now. `unused`: nothing was
-- begun. Returns whether it had a lease.
local function unclaim(job, id, queue, unused)
  local D = delivery_key(id)
  local f = call('HMGET', D, 'gates', 'holds')
  if f[1] then release_limiters(id, f[1], unused, f[2]) end
  if f[2] then presume_reservations(job, id) end
  call('HDEL', D, 'owner', 'gates')
  call('HSET', D, 'at', int(clock()))
  return call('ZREM', queue_key(queue, 'leases'), id) == 1
end

-- Make a delivery ready again, in its former place.
function to_ready(id, queue)
  note_queue(queue)
  call('ZADD', queue_key(queue, 'ready'), call('HGET', delivery_key(id), 'score'), id)
  wake(queue)
end

-- Resume deliveries parked for a budget, in the order of their places, as long as their needs together fit into `room`; also
-- those that need more than `most`, which never fit. Without open reservations, of each queue as many as fit are resumed, the
-- first one always, since no worker may serve some other queue. They keep the field `parked` until they have reserved: one
-- that finishes without a reservation makes others resume instead.
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
