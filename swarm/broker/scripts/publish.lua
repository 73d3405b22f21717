-- Make a catalog the current one. Its blobs exist already, with a lifetime; now they persist with it, and those of the
-- former one get a lifetime in which every job that uses it ends.
-- ARGV: version, lifetime ms, '1' if an existing current one stays, number of cards, then name, card ..., then blobs ...
-- Returns the former version or ''.
local version, now, former = ARGV[1], clock(), call('GET', P .. ':catalog')
if former and ARGV[3] == '1' then return former end
-- covers the longest run and retention of the open jobs, whatever settings the publisher has; a job that no router ends in
-- that time can be ended later without cards
local last = call('ZREVRANGE', P .. ':open', 0, 0, 'WITHSCORES')
local retention = last[1] and call('HGET', job_key(last[1]), 'retention')
local needed = (tonumber(last[2]) or now) - now + (retention and retention - UNENDED_MS or 0)
local lifetime = int(math.max(tonumber(ARGV[2]), needed))
local C, first_blob = P .. ':catalog:' .. ARGV[1], 5 + 2 * tonumber(ARGV[4])
for i = first_blob, #ARGV do
  if call('EXISTS', P .. ':blob:' .. ARGV[i]) == 0 then return redis.error_reply('SWARM a blob has expired; publish the catalog again') end
end
for i = 5, first_blob - 1, 2 do call('HSETNX', C, ARGV[i], ARGV[i + 1]) end
if former and former ~= version then
  local F = P .. ':catalog:' .. former
  for _, blob in ipairs(call('SMEMBERS', F .. ':blobs')) do call('PEXPIRE', P .. ':blob:' .. blob, lifetime) end
  call('PEXPIRE', F .. ':blobs', lifetime)
  call('PEXPIRE', F, lifetime)
  call('ZADD', P .. ':catalogs', now + lifetime, former)
end
call('PERSIST', C)
for i = first_blob, #ARGV do
  call('PERSIST', P .. ':blob:' .. ARGV[i])
  call('SADD', C .. ':blobs', ARGV[i])
end
call('PERSIST', C .. ':blobs')
call('SET', P .. ':catalog', version)
call('ZADD', P .. ':catalogs', 'inf', version)
call('ZREMRANGEBYSCORE', P .. ':catalogs', '-inf', now)
call('ZREMRANGEBYRANK', P .. ':catalogs', 0, -65)
for _, queue in ipairs(call('SMEMBERS', P .. ':queues')) do drop_if_empty(queue) end
call('PUBLISH', P .. ':published', version)
return former or ''
