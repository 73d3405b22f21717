-- Set what one tenant has of its own, and let whoever waits for its budget look again.
-- ARGV: tenant, greatest number of tenants, then field, value ... ('' takes a field away). Answers 'ok' or 'full'.
local T, tenant, today = P .. ':tenants', ARGV[1], day_of(clock())
local known = call('HEXISTS', T, tenant .. ':weight') == 1 or call('HEXISTS', T, tenant .. ':budget') == 1
-- a tenant has two fields at most, so that this many fields are never too many tenants
if not known and call('HLEN', T) > 2 * tonumber(ARGV[2]) - 2 then return 'full' end
local changed
for i = 3, #ARGV, 2 do
  changed = changed or ARGV[i] == 'budget'
  local field = tenant .. ':' .. ARGV[i]
  if ARGV[i + 1] == '' then
    call('HDEL', T, field)
  else
    call('HSET', T, field, ARGV[i + 1])
  end
end
-- the days of all jobs that may still be open
for day = changed and today - BOOKS_MS / DAY_MS or today + 1, today do
  local scope = 'tenant:' .. tenant .. ':' .. int(day)
  if call('EXISTS', books_key(scope)) == 1 then
    -- without one of its own, the next who reserves brings that of the settings
    keep_limit(scope, call('HGET', T, tenant .. ':budget') or '')
    make_room(scope)
  end
end
return 'ok'
