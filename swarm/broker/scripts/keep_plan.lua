-- Keep a request's plan, newest last. ARGV: tenant, catalog version, how many are kept, lifetime ms, the plan.
local S = P .. ':plans:' .. ARGV[1] .. ':' .. ARGV[2]
call('XADD', S, 'MAXLEN', ARGV[3], '*', 'plan', ARGV[5])
call('PEXPIRE', S, ARGV[4])
