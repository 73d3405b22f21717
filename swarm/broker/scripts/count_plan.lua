-- Count a hit or a miss of the plan cache. ARGV: 'hits' or 'misses', lifetime ms. Returns both counts.
call('HINCRBY', P .. ':plancount', ARGV[1], 1)
call('PEXPIRE', P .. ':plancount', ARGV[2])
return call('HMGET', P .. ':plancount', 'hits', 'misses')
