-- Extend leases, if they are still held. ARGV: lease ms, worker, what the worker says of itself, its lifetime ms,
-- then id, queue, owner ... Answers the ids whose claim is gone, whose subtask is settled or whose job has ended.
local lease, now = tonumber(ARGV[1]), clock()
even_if_full()
grace(now, lease)
if ARGV[3] ~= '' then call('SET', P .. ':worker:' .. ARGV[2], ARGV[3], 'PX', ARGV[4]) end
local gone = {}
for i = 5, #ARGV, 3 do
  local id, queue, owner = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local f = call('HMGET', delivery_key(id), 'owner', 'gates')
  local held = f[1] == owner
  local subtask = string.sub(queue, 1, 4) == 'run:' and string.match(id, '^[^:]+:([^:]+):')
  if held and subtask and call('HEXISTS', job_key(job_of(id)), 's:' .. subtask) == 1 then
    forget(job_of(id), id, queue)
    held = false
  end
  if held then
    call('ZADD', queue_key(queue, 'leases'), 'XX', int(math.ceil(now + lease)), id)
    if f[2] then keep_places(id, f[2], now + lease) end
  else
    table.insert(gone, id)
  end
end
return gone
