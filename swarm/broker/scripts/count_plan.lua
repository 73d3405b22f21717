-- Count a hit or a miss of the plan cache. ARGV: 'hits' or 'misses', lifetime ms.
call('HINCRBY', P .. ':plancount', ARGV[1], 1)
call('PEXPIRE', P .. ':plancount', ARGV[2])
