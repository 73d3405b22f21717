-- Return deliveries that are leased to a worker without its knowledge, after a claim whose reply was lost.
-- ARGV: worker, number of queues, queues ..., claims it knows ('ID OWNER') ... Returns how many were returned.
local worker, known, count = ARGV[1], {}, 0
for i = 3 + tonumber(ARGV[2]), #ARGV do known[ARGV[i]] = true end
for i = 3, 2 + tonumber(ARGV[2]) do
  for _, id in ipairs(call('ZRANGE', queue_key(ARGV[i], 'leases'), 0, -1)) do
    local owner = call('HGET', delivery_key(id), 'owner')
    if owner and worker_of(owner) == worker and not known[id .. ' ' .. owner] then
      unclaim(job_of(id), id, ARGV[i], true)
      to_ready(id, ARGV[i])
      count = count + 1
    end
  end
end
return count
