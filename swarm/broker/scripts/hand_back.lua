-- Give claims back unfinished, without burning a try. ARGV: ms until they may be claimed again, 'lost' if it counts
-- as a lost lease or '', then id, queue, owner ... Answers how many were still held.
local now, count = clock(), 0
for i = 3, #ARGV, 3 do
  local id, queue, owner = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local D = delivery_key(id)
  if call('HGET', D, 'owner') == owner and call('ZREM', queue_key(queue, 'leases'), id) == 1 then
    count = count + 1
    call('HDEL', D, 'owner')
    if ARGV[2] == 'lost' then
      -- as an expired lease: the next claim counts it, and buries it when it was one too many
      call('HSET', D, 'owner', '-')
      call('ZADD', queue_key(queue, 'leases'), now + tonumber(ARGV[1]), id)
    else
      call('ZADD', queue_key(queue, 'ready'), call('HGET', D, 'score'), id)
      wake(queue)
    end
  end
end
return count
