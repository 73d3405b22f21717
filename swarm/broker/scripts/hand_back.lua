-- Give claims back unfinished, without burning a try. ARGV: ms until they may be claimed again, 'lost' if it counts
-- as a lost lease, 'unused' if nothing was begun, or '', why it is lost or '', then id, queue, owner ...
-- Answers how many were still held.
local now, count = clock(), 0
for i = 4, #ARGV, 3 do
  local id, queue, owner = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local D = delivery_key(id)
  if call('HGET', D, 'owner') == owner and unclaim(job_of(id), id, queue, ARGV[2] == 'unused') then
    count = count + 1
    if ARGV[2] == 'lost' then
      -- as an expired lease: the next claim counts it, and buries it when it was one too many
      note_loss(id, owner, now, ARGV[3])
      call('HSET', D, 'owner', '-')
      call('ZADD', queue_key(queue, 'leases'), now + tonumber(ARGV[1]), id)
    else
      to_ready(id, queue)
    end
  end
end
return count
