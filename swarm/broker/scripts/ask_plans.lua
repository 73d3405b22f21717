-- Read the entries of the plan cache after the last one that a process has read, and renew their lifetime.
-- ARGV: tenant, catalog version, last id read, cap, lifetime ms. Returns the number of entries, then id, plan, id, plan ...
local S = P .. ':plans:' .. ARGV[1] .. ':' .. ARGV[2]
local found = {call('XLEN', S)}
for _, entry in ipairs(call('XRANGE', S, '(' .. ARGV[3], '+', 'COUNT', ARGV[4])) do
  table.insert(found, entry[1])
  table.insert(found, entry[2][2])
end
call('PEXPIRE', S, ARGV[5])
return found
