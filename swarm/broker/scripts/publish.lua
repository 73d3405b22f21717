-- Make a catalog the current one. Its cards and blobs are there already, under a lifetime; now they stay, and those of
-- the former one get a lifetime in which every job pinned to it ends.
-- ARGV: version, lifetime ms, blobs of the new catalog ... Answers the former version or ''.
local version, lifetime = ARGV[1], ARGV[2]
local former = call('GET', P .. ':catalog')
if former and former ~= version then
  local F = P .. ':catalog:' .. former
  for _, blob in ipairs(call('SMEMBERS', F .. ':blobs')) do call('PEXPIRE', P .. ':blob:' .. blob, lifetime) end
  call('PEXPIRE', F .. ':blobs', lifetime)
  call('PEXPIRE', F, lifetime)
end
if call('EXISTS', P .. ':catalog:' .. version) == 0 then return redis.error_reply('SWARM the cards are gone; publish again') end
call('PERSIST', P .. ':catalog:' .. version)
for i = 3, #ARGV do
  if call('PERSIST', P .. ':blob:' .. ARGV[i]) == 0 and call('EXISTS', P .. ':blob:' .. ARGV[i]) == 0 then
    return redis.error_reply('SWARM a blob is gone; publish again')
  end
  call('SADD', P .. ':catalog:' .. version .. ':blobs', ARGV[i])
end
call('PERSIST', P .. ':catalog:' .. version .. ':blobs')
call('SET', P .. ':catalog', version)
call('PUBLISH', P .. ':published', version)
return former or ''
