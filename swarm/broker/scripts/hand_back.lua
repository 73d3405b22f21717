-- Return claims unfinished, without counting an attempt. ARGV: ms until they may be claimed again, 'lost' if each counts
-- as a lost lease, 'unused' if nothing was begun, or '', reason of the loss or '', then id, queue, owner ...
-- Returns how many were still held.
local now, count = clock(), 0
for i = 4, #ARGV, 3 do
  local id, queue, owner = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local D = delivery_key(id)
  if call('HGET', D, 'owner') == owner and unclaim(job_of(id), id, queue, ARGV[2] == 'unused') then
    count = count + 1
    if ARGV[2] == 'lost' then
      -- treated as an expired lease: the next claim counts it, and makes it a dead letter after too many losses
      note_loss(id, owner, now, ARGV[3])
      call('HSET', D, 'owner', '-')
      call('ZADD', queue_key(queue, 'leases'), now + tonumber(ARGV[1]), id)
    else
      to_ready(id, queue)
    end
  end
end
return count
