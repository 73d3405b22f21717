-- What the plan cache has beyond what a process has read. ARGV: tenant, catalog version, the last id read, how many
-- it has at most, lifetime ms. Answers how many are kept now, then id, plan, id, plan ... A use prolongs their life.
local S = P .. ':plans:' .. ARGV[1] .. ':' .. ARGV[2]
local found = {call('XLEN', S)}
for _, entry in ipairs(call('XRANGE', S, '(' .. ARGV[3], '+', 'COUNT', ARGV[4])) do
  table.insert(found, entry[1])
  table.insert(found, entry[2][2])
end
call('PEXPIRE', S, ARGV[5])
return found
