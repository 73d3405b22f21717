-- Make a catalog the current one. Its cards and blobs are there already, under a lifetime; now they stay, and those of
-- the former one get a lifetime in which every job pinned to it ends.
-- ARGV: version, lifetime ms, blobs of the new catalog ... Answers the former version or ''.
local version, lifetime, now = ARGV[1], ARGV[2], clock()
if call('EXISTS', P .. ':catalog:' .. version) == 0 then return redis.error_reply('SWARM the cards are gone; publish again') end
for i = 3, #ARGV do
  if call('EXISTS', P .. ':blob:' .. ARGV[i]) == 0 then return redis.error_reply('SWARM a blob is gone; publish again') end
end
local former = call('GET', P .. ':catalog')
if former and former ~= version then
  local F = P .. ':catalog:' .. former
  for _, blob in ipairs(call('SMEMBERS', F .. ':blobs')) do call('PEXPIRE', P .. ':blob:' .. blob, lifetime) end
  call('PEXPIRE', F .. ':blobs', lifetime)
  call('PEXPIRE', F, lifetime)
  call('ZADD', P .. ':catalogs', now + lifetime, former)
end
call('PERSIST', P .. ':catalog:' .. version)
for i = 3, #ARGV do
  call('PERSIST', P .. ':blob:' .. ARGV[i])
  call('SADD', P .. ':catalog:' .. version .. ':blobs', ARGV[i])
end
call('PERSIST', P .. ':catalog:' .. version .. ':blobs')
call('SET', P .. ':catalog', version)
call('ZADD', P .. ':catalogs', 'inf', version)
call('ZREMRANGEBYSCORE', P .. ':catalogs', '-inf', now)
call('ZREMRANGEBYRANK', P .. ':catalogs', 0, -65)
call('PUBLISH', P .. ':published', version)
return former or ''
