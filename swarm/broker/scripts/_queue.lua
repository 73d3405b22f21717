-- Deliveries: where they stand, and how they leave.

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
  local f = call('HMGET', delivery_key(id), 'gates', 'holds', 'parked')
  if f[1] then release_gates(id, f[1]) end
  if f[2] then money_lost(job, id) end
  if f[3] then call('ZREM', P .. ':parked:' .. f[3], id) end
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

-- A claim is over and the delivery stays: its lease, its places and its reservations are not its own any more.
local function unclaim(job, id, queue)
  local D = delivery_key(id)
  local f = call('HMGET', D, 'gates', 'holds')
  if f[1] then release_gates(id, f[1]) end
  if f[2] then money_lost(job, id) end
  call('HDEL', D, 'owner', 'gates')
  return call('ZREM', queue_key(queue, 'leases'), id) == 1
end

-- A delivery may be claimed again, in the place that it had.
function to_ready(id, queue)
  call('ZADD', queue_key(queue, 'ready'), call('HGET', delivery_key(id), 'score'), id)
  wake(queue)
end
