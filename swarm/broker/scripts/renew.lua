-- Extend leases that are still held. ARGV: lease ms, worker, time that it measured or '', its description of itself, lifetime
-- of that in ms, then id, queue, owner ... Returns {time, ids}: ids of claims that are lost, of subtasks that are settled, of
-- jobs that have ended, and of cancelled deliveries; the last stay claimed until the next decision withdraws them.
local lease = tonumber(ARGV[1])
even_if_full()
local now = record_contact(lease, ARGV[3])
if ARGV[4] ~= '' then call('SET', P .. ':worker:' .. ARGV[2], ARGV[4], 'PX', ARGV[5]) end
local until_then = int(math.ceil(now + lease))
local gone, leases = {}, {}
for i = 6, #ARGV, 3 do
  local id, queue, owner = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local f = call('HMGET', delivery_key(id), 'owner', 'gates')
  local held = f[1] == owner
  local subtask = subtask_of(id, queue)
  if held and is_cancelled(job_of(id), id, queue) then
    held = false
  elseif held and subtask and call('HEXISTS', job_key(job_of(id)), 's:' .. subtask) == 1 then
    forget(job_of(id), id, queue)
    held = false
  end
  if held then
    leases[queue] = leases[queue] or {}
    table.insert(leases[queue], until_then)
    table.insert(leases[queue], id)
    if f[2] then keep_places(id, f[2], now + lease) end
  else
    table.insert(gone, id)
  end
end
for queue, held in pairs(leases) do
  in_chunks(held, function(...) call('ZADD', queue_key(queue, 'leases'), 'XX', ...) end)
end
return {int(now), gone}
