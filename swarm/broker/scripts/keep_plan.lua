-- Add a request's plan to the cache. ARGV: tenant, catalog version, cap of entries, lifetime ms, plan.
local S = P .. ':plans:' .. ARGV[1] .. ':' .. ARGV[2]
call('XADD', S, 'MAXLEN', ARGV[3], '*', 'plan', ARGV[5])
call('PEXPIRE', S, ARGV[4])
