-- Set the weight or budget of one tenant, and resume deliveries that wait for its budget.
-- ARGV: tenant, cap of tenants, then field, value ... ('' deletes a field). Returns 'ok' or 'full'.
local T, tenant, today = P .. ':tenants', ARGV[1], day_of(clock())
local known = call('HEXISTS', T, tenant .. ':weight') == 1 or call('HEXISTS', T, tenant .. ':budget') == 1
-- a tenant has at most two fields, so this bound on fields bounds the tenants
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
-- for each day on which a job that is still open may have been accepted
for day = changed and today - BOOKS_MS / DAY_MS or today + 1, today do
  local scope = 'tenant:' .. tenant .. ':' .. int(day)
  if call('EXISTS', books_key(scope)) == 1 then
    -- without a budget of its own, the next reservation sets the default of the settings
    keep_limit(scope, call('HGET', T, tenant .. ':budget') or '')
    make_room(scope)
  end
end
return 'ok'
