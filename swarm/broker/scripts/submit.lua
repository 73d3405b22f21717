-- Accept a job: check the caps and the experts, write the job, queue its first delivery and its timer.
-- ARGV: job, request, digest, tenant, age ms, deadline ms or '', retention ms, attempts, window, open cap, tenant cap,
--       first ('advance' or 'plan'), replans, plan only ('true' or 'false'), greatest for_each, priority,
--       budget, the tenant's and the day's by the settings (micro-dollars or ''), ms for which the caller
--       retries when refused, parent job or '', how deep child jobs may be nested, how many child jobs one job may
--       have, bytes that the tenant's jobs may keep or '', experts that the request names ...
-- Returns {'ok', expire}, {'again'} for a repeated call, or a refusal: {'conflict'}, {'empty'}, {'unknown', name, known...},
-- {'busy', scope, open, limit, ms after which to retry or ''}, {'over', scope, left, limit} (the budget does not fit;
-- micro-dollars), {'held', bytes, limit} (the tenant's jobs would keep more bytes than allowed),
-- {'orphan'} (the parent has ended or is to be cancelled), {'deep', limit}, {'many', limit}.
-- A child job counts as open but needs no free place, since its parent has one.
local job, request, digest, tenant = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local J = job_key(job)
local now = clock()

local stored = call('HGET', J, 'digest')
if stored then return stored == digest and {'again'} or {'conflict'} end

local version = call('GET', P .. ':catalog')
if not version then return {'empty'} end
for i = 25, #ARGV do
  if call('HEXISTS', P .. ':catalog:' .. version, ARGV[i]) == 0 then
    local answer = {'unknown', ARGV[i]}
    for _, name in ipairs(call('HKEYS', P .. ':catalog:' .. version)) do table.insert(answer, name) end
    return answer
  end
end

local parent, depth, latest = ARGV[21], 0, math.huge
if parent ~= '' then
  local f = call('HMGET', job_key(parent), 'expire', 'ending', 'cancel', 'tenant', 'depth', 'due')
  if not f[1] or f[2] or f[3] or f[4] ~= tenant then return {'orphan'} end
  depth, latest = (tonumber(f[5]) or 0) + 1, tonumber(f[6]) or latest
  if depth > tonumber(ARGV[22]) then return {'deep', ARGV[22]} end
  if call('SCARD', job_key(parent) .. ':children') >= tonumber(ARGV[23]) then return {'many', ARGV[23]} end
end

local busy_timeout = tonumber(ARGV[20])
local SOONEST_MS, LATEST_MS, LOOK_MS, LATE_MS, LONGEST_LEAD_MS, MOST_WAITING = 50, 300000, 1000, 1000, 500, 1000

-- Return ms between two endings, or nil if none was measured. The time since the last ending counts too.
local function gap_of(scope)
  local since, worked, ended, gap = string.match(call('GET', P .. ':pace' .. scope) or '', '^(%S+) (%S+) (%S+) (%S+)$')
  if not since then return nil end
  local quiet, mean = tonumber(since) > 0 and now - since or 0, tonumber(gap)
  return math.max(mean > 0 and mean or worked / ended, (worked + quiet) / (ended + 1))
end

-- Count other callers for whom a place is reserved, and return whether one is reserved for this job. A caller that retries
-- has a turn in `waiting`: the time when a place is likely to be free. From shortly before that time until the caller
-- comes, the next free place is reserved for it. It retries every LOOK_MS and keeps its turn; after the time in `asked` it
-- no longer counts. Callers that do not retry have no turn.
local function due_in(scope, gap)
  local key, count = P .. ':waiting' .. scope, 0
  local lead = math.max(SOONEST_MS, math.min(LONGEST_LEAD_MS, 3 * gap))
  for _, other in ipairs(call('ZRANGEBYSCORE', key, now - LATE_MS, now + lead)) do
    if other ~= job then count = count + 1 end
  end
  local turn = tonumber(call('ZSCORE', key, job))
  return count, turn and turn <= now + lead
end

-- Return ms after which a refused call is likely to be accepted: `over` jobs must end first, and one for each waiting caller.
local function come_again(scope, over, gap, due)
  local key, asked = P .. ':waiting' .. scope, P .. ':asked' .. scope
  for _, gone in ipairs(call('ZRANGEBYSCORE', asked, '-inf', now)) do
    if gone ~= job then
      call('ZREM', key, gone)
      call('ZREM', asked, gone)
    end
  end
  local turn, wait = tonumber(call('ZSCORE', key, job)), nil
  if due then
    wait, turn = math.max(SOONEST_MS, math.min(LONGEST_LEAD_MS, gap)), now
  elseif turn then
    wait = math.max(SOONEST_MS, turn - now)
  else
    local ahead = call('ZCARD', key)
    wait = math.max(SOONEST_MS, math.min(LATEST_MS, gap * math.max(1, over + ahead)))
    turn = now + wait
    if ahead >= MOST_WAITING or wait > busy_timeout then return math.ceil(wait) end
  end
  call('ZADD', key, turn, job)
  call('ZADD', asked, now + math.min(wait, LOOK_MS) + LATE_MS, job)
  call('PEXPIRE', key, LATEST_MS + LATE_MS)
  call('PEXPIRE', asked, LATEST_MS + LATE_MS)
  return math.ceil(wait)
end

local scopes = {'', ':' .. tenant}
for i, scope in ipairs(parent == '' and scopes or {}) do
  local open, limit = call('ZCOUNT', P .. ':open' .. scope, now, '+inf'), tonumber(ARGV[9 + i])
  local gap, kept, due = nil, 0, false
  if open >= limit or call('EXISTS', P .. ':waiting' .. scope) == 1 then
    gap = gap_of(scope)
    if gap then kept, due = due_in(scope, gap) end
  end
  if open + (due and 0 or kept) >= limit then
    local which = i == 1 and 'in all' or 'for tenant ' .. tenant
    return {'busy', which, open, limit, gap and come_again(scope, open - limit + 1, gap, due) or ''}
  end
end

local held, most = held_by(tenant, now), tonumber(ARGV[24])
if most and held + #request > most then return {'held', int(held), int(most)} end

local budget, day = ARGV[17], day_of(now)
if budget ~= '' then
  for i, scope in ipairs(scopes_of(tenant, day)) do
    local limit = tonumber(limit_of(scope, ARGV[17 + i]))
    local spent, open = taken(scope)
    if limit and spent + open + budget > limit then
      return {'over', i == 1 and 'tenant ' .. tenant or 'the day', int(math.max(0, limit - spent - open)), int(limit)}
    end
  end
end

-- a full Redis refuses this first write, so that it accepts no new jobs
local age = tonumber(ARGV[5])
-- an integer, as the times of events are: a tick at its due time must not seem to come before it
-- a child job ends no later than its parent, however late it is submitted
local due = math.min(latest, math.ceil(now + math.min(age, tonumber(ARGV[6]) or age)))
local expire = int(now + age + UNENDED_MS)
call('HSET', J, 'request', request, 'digest', digest, 'tenant', tenant, 'catalog', version, 'accepted', int(now), 'expire', expire)
call('HSET', J, 'due', due, 'retention', ARGV[7], 'held', #request)
hold_bytes(tenant, now, expire, #request)
if most then call('HSET', held_key(tenant), 'limit', int(most)) else call('HDEL', held_key(tenant), 'limit') end
if parent ~= '' then
  call('HSET', J, 'parent', parent, 'depth', depth)
  call('SADD', job_key(parent) .. ':children', job)
  expire_at(job_key(parent) .. ':children', call('HGET', job_key(parent), 'expire'))
end
if ARGV[16] ~= '0' then call('HSET', J, 'priority', ARGV[16]) end
expire_at(J, expire)
append(job, now, 'accepted', string.format(
  '{"due":%.0f,"deadline":%s,"attempts":%d,"window":%d,"catalog":"%s","replans":%d,"plan_only":%s,"max_items":%d}',
  due, (tonumber(ARGV[6]) or age + 1) <= age and 'true' or 'false', ARGV[8], ARGV[9], version, ARGV[13], ARGV[14], ARGV[15]))
expire_at(J .. ':log', expire)
for _, scope in ipairs(scopes) do
  call('ZREMRANGEBYSCORE', P .. ':open' .. scope, '-inf', now)
  call('ZADD', P .. ':open' .. scope, expire, job)
  call('ZREM', P .. ':waiting' .. scope, job)
  call('ZREM', P .. ':asked' .. scope, job)
end
enqueue(job, job .. ':@timer:1', 'advance', '', now, due)
if budget ~= '' then create_entry(job, tenant, day, expire, budget) end
if ARGV[12] == 'plan' then
  enqueue(job, job .. ':plan', 'plan', router_record('plan', job, now), now)
  keep_turns()
else
  ask_advance(job, now)
end
return {'ok', expire}
