-- Circuit breakers of models and endpoints. See limiters.py. A breaker is part of the hash of its limiter (see _limits.lua):
--   fails    when the last calls failed, since one was answered
--   why      error text of the last failed call
--   broken   since when it is open; absent: it is closed
--   shut     until when nobody may call; after that it is half-open
--   span     how many ms that pause is
--   probe    the call that probes the half-open breaker, 'DELIVERY OWNER HOLD UNTIL'; HOLD is '-' until it has reserved

local LIMITER_MS = '86400000'
local FAILS, FAILS_MS, FIRST_SPAN, LONGEST_SPAN = 5, 60000, 5000, 60000
-- how long deliveries wait for an open breaker
local DEAD_MS = 300000

local function limiter_key(limiter) return P .. ':gate:' .. limiter end

-- Return the limiters of a model; none for ''.
local function limiters_of_model(model)
  return model == '' and {} or {'model:' .. model, 'endpoint:' .. string.match(model, '^[^/]+')}
end

-- Whether a breaker has been open for so long that calls no longer wait for it.
local function is_dead(broken, now) return math.abs(now - broken) >= DEAD_MS end

-- Return until when the current probe of a half-open breaker is waited for: as long as its lease runs and, once it has
-- reserved, at most the time that its call may take while it is not settled. Nil: no probe runs.
local function probe_until(probe, now)
  local id, owner, hold, till = string.match(probe or '', '^(%S+) (%S+) (%S+) (%d+)$')
  till = tonumber(till)
  if not till or till <= now then return end
  local f = call('HMGET', delivery_key(id), 'owner', 'queue', 'holds')
  if f[1] ~= owner or (hold ~= '-' and not string.find(' ' .. (f[3] or '') .. ' ', ' ' .. hold .. ' ', 1, true)) then return end
  local lease = tonumber(call('ZSCORE', queue_key(f[2], 'leases'), id) or '')
  if not lease then return end
  if lease > cutoff(now) then return math.min(till, now + lease - cutoff(now)) end
end

-- Return when an open breaker may be probed next; nil: now.
local function next_probe_at(shut, probe, now)
  if shut > now and shut < now + LONGEST_SPAN + 1000 then return shut end
  return probe_until(probe, now)
end

-- Record the probe of a half-open breaker; no other call is admitted until its outcome is known.
local function start_probe(K, id, owner, hold, till)
  call('HSET', K, 'probe', id .. ' ' .. owner .. ' ' .. hold .. ' ' .. int(till))
end

-- Count a failed call: the FAILS-th in a row within FAILS_MS opens the breaker.
local function count_failure(K, fails, now)
  local times = {}
  for at in string.gmatch(fails or '', '%d+') do
    if math.abs(now - at) < FAILS_MS then table.insert(times, at) end
  end
  table.insert(times, int(now))
  if #times < FAILS then
    call('HSET', K, 'fails', table.concat(times, ' '))
  else
    call('HDEL', K, 'fails')
    call('HSET', K, 'broken', int(now), 'shut', int(now + FIRST_SPAN), 'span', FIRST_SPAN)
  end
  call('PEXPIRE', K, LIMITER_MS)
end

-- Update a breaker by a call's result: 'up', 'down', or '' for none. `who` made the call: 'DELIVERY OWNER HOLD '. While open,
-- a breaker counts only the failure of its probe; other calls may have begun before it opened.
local function update_breaker(limiter, fails, broken, span, probe, health, who, now, why)
  local K = limiter_key(limiter)
  local tried = probe and string.sub(probe, 1, #who) == who
  if health == 'up' then
    if fails or broken then call('HDEL', K, 'fails', 'broken', 'shut', 'span', 'probe', 'why') end
    if broken then wake_waiting(limiter) end
  elseif health == 'down' and not broken then
    call('HSET', K, 'why', why)
    count_failure(K, fails, now)
  elseif health == 'down' and tried then
    span = math.min(LONGEST_SPAN, 2 * span)
    call('HDEL', K, 'probe')
    call('HSET', K, 'shut', int(now + span), 'span', span, 'why', why)
    call('PEXPIRE', K, LIMITER_MS)
  elseif tried then
    call('HDEL', K, 'probe')
    wake_waiting(limiter)
  end
end

-- Check the breakers of a model. Returns nil and those that this call probes; or the open one, the ms until its next probe
-- (while another call probes it, the length of its pause), whether it is open for too long to wait, and its last error.
local function open_breaker(model, id, owner, hold, now)
  local tries = {}
  for _, limiter in ipairs(limiters_of_model(model)) do
    local K = limiter_key(limiter)
    local shut_till = tonumber(call('HGET', K, 'shut') or '')
    if shut_till then
      local f = call('HMGET', K, 'probe', 'span', 'broken', 'why')
      local mine = f[1] and string.find(f[1], id .. ' ' .. owner .. ' - ', 1, true) == 1
      local mended = next_probe_at(shut_till, not mine and f[1], now)
      if mended then
        return limiter, math.ceil(mended == shut_till and shut_till - now or tonumber(f[2])), is_dead(f[3], now), f[4] or ''
      end
      table.insert(tries, K)
    end
  end
  return nil, tries
end
