-- A worker did not hear what its claim came to. What is leased to it and it does not know of goes back, as never claimed.
-- ARGV: worker, number of queues, queues ..., owners it knows ... Answers how many went back.
local worker, known, count = ARGV[1], {}, 0
for i = 3 + tonumber(ARGV[2]), #ARGV do known[ARGV[i]] = true end
for i = 3, 2 + tonumber(ARGV[2]) do
  for _, id in ipairs(call('ZRANGE', queue_key(ARGV[i], 'leases'), 0, -1)) do
    local D = delivery_key(id)
    local owner = call('HGET', D, 'owner')
    if owner and string.match(owner, '^(.*):%d+$') == worker and not known[id .. ' ' .. owner] then
      call('HDEL', D, 'owner')
      call('ZREM', queue_key(ARGV[i], 'leases'), id)
      call('ZADD', queue_key(ARGV[i], 'ready'), call('HGET', D, 'score'), id)
      count = count + 1
    end
  end
end
return count
