-- Add to the statistics of experts, and keep those of the experts that ran last.
-- ARGV: lifetime ms, cap of experts, number of experts; for each: name, number of fields, field, increment, ...
local index, now = P .. ':stats', clock()
local at = 4
for _ = 1, tonumber(ARGV[3]) do
  local name, fields = ARGV[at], tonumber(ARGV[at + 1])
  local key = index .. ':' .. name
  for i = at + 2, at + 1 + 2 * fields, 2 do call('HINCRBY', key, ARGV[i], ARGV[i + 1]) end
  call('PEXPIRE', key, ARGV[1])
  call('ZADD', index, now, name)
  at = at + 2 + 2 * fields
end
call('PEXPIRE', index, ARGV[1])
local most = tonumber(ARGV[2])
for _, name in ipairs(call('ZRANGE', index, 0, -(most + 1))) do
  call('DEL', index .. ':' .. name)
  call('ZREM', index, name)
end
return 'ok'
