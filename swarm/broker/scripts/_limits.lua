-- Rate limiters of experts, models and endpoints: what each can take at once and per minute. See limiters.py. The hash
-- PREFIX:gate:NAME of a limiter holds, besides its breaker (see _breaker.lua),
--   tat, step         requests: when the last admitted one is due, if all are spaced evenly; ms between two
--   owed, at, pay, spare   tokens: how many are owed at the time `at` (below 0: to spare, `spare` at most), paid off per ms
--   mean              tokens of a call, recent ones weighted most: what a claim is charged until the usage is known
--   cap, peak         adaptive: how many may run, since the server refused; how many ran then
--   rate, grown       adaptive: the share of the rates that is used, since the server refused; when it last grew
--   cut, pause        when `cap` and `rate` were last cut; until when nothing begins
--   waits, w:QUEUE    the queues to wake when a place is free; since when one is held here, and when that was last seen
-- The field `gates` of a delivery names those that admitted it; `#N` after a name is the number of tokens charged there.

local FIRST_MEAN = 1000
local FORGOTTEN = 600000
local LONGEST_PAUSE = 600000
local looked = {}

-- Calls `each(limiter, word that follows it or nil)`; such a word begins with `mark`.
local function each_limiter(words, mark, each)
  local limiter
  for word in string.gmatch(words, '%S+') do
    if string.sub(word, 1, 1) == mark then
      each(limiter, string.sub(word, 2))
      limiter = nil
    else
      if limiter then each(limiter) end
      limiter = word
    end
  end
  if limiter then each(limiter) end
end

-- Return the end of a pause that the server asked for; nil: there is none.
local function paused_till(pause, now)
  if pause > now and pause < now + LONGEST_PAUSE + 1000 then return pause end
end

-- Read the current state of a limiter. `limits`: 'concurrency,requests,tokens,burst', or nil for those set in Redis.
local function read_limiter(name, limits, now)
  if looked[name] then return looked[name] end
  local K = limiter_key(name)
  limits = limits or call('HGET', P .. ':limits', name) or ''
  local most, rpm, tpm, burst = string.match(limits, '^(%d*),(%d*),(%d*),(%d*)$')
  most, rpm, tpm, burst = tonumber(most or ''), tonumber(rpm or ''), tonumber(tpm or ''), tonumber(burst or '')
  local f = call('HMGET', K, 'cut', 'cap', 'rate', 'pause', 'waits', 'tat', 'owed', 'at', 'mean', 'shut', 'probe', 'broken')
  call('ZREMRANGEBYSCORE', K .. ':running', '-inf', cutoff(now))
  local cut = math.abs(now - tonumber(f[1] or '0')) < FORGOTTEN
  local rate = cut and tonumber(f[3]) or 1
  local g = {
    name = name, key = K, running = call('ZCARD', K .. ':running'), waits = f[5] or '', entered = {},
    most = math.min(most or math.huge, cut and f[2] and math.floor(f[2]) or math.huge),
    pause = tonumber(f[4] or '0'), probe = f[11],
  }
  if f[12] and not is_dead(f[12], now) then g.shut, g.dead_at = tonumber(f[10]), f[12] + DEAD_MS end
  if rpm then
    g.step = 60000 / (rpm * rate)
    g.slack = ((burst or math.max(1, math.floor(rpm / 60))) - 1) * g.step
    -- bounded by what these limits allow: they may have been raised since
    g.tat = math.min(math.max(now, tonumber(f[6] or '0')), now + g.slack + g.step)
  end
  if tpm then
    g.mean, g.pay = tonumber(f[9]) or FIRST_MEAN, tpm * rate / 60000
    g.spare = math.min(tpm, math.max(tpm / 60, ((burst or 1) - 1) * g.mean))
    local owed = math.min(tonumber(f[7]) or -g.spare, g.pay * LONGEST_PAUSE)
    g.owed = math.max(-g.spare, owed - math.max(0, now - tonumber(f[8] or '0')) * g.pay)
  end
  looked[name] = g
  return g
end

-- Return when a closed limiter may admit again; nil if it admits now. `waits`: an open breaker closes it too.
local function opens_at(g, now, waits)
  if waits and g.tried then return math.huge end
  local mended = waits and g.shut and next_probe_at(g.shut, g.probe, now)
  if mended then return math.min(mended, g.dead_at) end
  local paused = paused_till(g.pause, now)
  if paused then return paused end
  if g.running >= g.most then
    local first = call('ZRANGE', g.key .. ':running', 0, 0, 'WITHSCORES')[2]
    return first and now + first - cutoff(now) or math.huge
  end
  if g.tat and g.tat - now > g.slack + 0.001 then return g.tat - g.slack end
  if g.owed and g.owed > 0.001 then return now + g.owed / g.pay end
end

-- Read the limiters of a queue, and since when each holds it back. A leading `!`: its deliveries wait for a breaker to
-- close; without it they run and use a fallback.
local function limiters_of_queue(words, queue, now)
  local found = {waits = string.sub(words, 1, 2) == '! '}
  each_limiter(found.waits and string.sub(words, 3) or words, '=', function(name, limits)
    local g = read_limiter(name, limits, now)
    local since, seen = string.match(call('HGET', g.key, 'w:' .. queue) or '', '^(%d+) (%d+)$')
    -- without a recent claim of the queue, the limiter was not what held it back
    table.insert(found, {limiter = g, known = since, since = since and now - seen < 2000 and tonumber(since)})
  end)
  return found
end

-- Return the first closed limiter of a queue, and when it may open.
local function first_closed(limiters, now)
  for _, at in ipairs(limiters) do
    local opens = opens_at(at.limiter, now, limiters.waits)
    if opens then return at, opens end
  end
end

-- Admit a delivery at all its limiters. Returns the field `gates` of the delivery.
local function admit(limiters, id, owner, now)
  local words = {}
  for _, at in ipairs(limiters) do
    local g = at.limiter
    if limiters.waits and g.shut then
      start_probe(g.key, id, owner, '-', now + LONGEST_SPAN)
      g.tried = true
    end
    g.running = g.running + 1
    table.insert(g.entered, id)
    table.insert(words, g.name)
    if g.tat then g.tat = g.tat + g.step end
    if g.owed then
      g.owed = g.owed + g.mean
      table.insert(words, '#' .. int(g.mean))
    end
  end
  return table.concat(words, ' ')
end

-- Record that a limiter holds a queue back; it wakes the queue when a place is free.
local function hold_back(at, queue, now)
  local g = at.limiter
  if not string.find(' ' .. g.waits .. ' ', ' ' .. queue .. ' ', 1, true) then g.waits = g.waits .. ' ' .. queue end
  call('HSET', g.key, 'waits', g.waits, 'w:' .. queue, int(at.since or now) .. ' ' .. int(now))
  call('PEXPIRE', g.key, LIMITER_MS)
end

-- Record that a queue is no longer held back.
local function clear_hold(limiters, queue)
  for _, at in ipairs(limiters) do
    if at.known then call('HDEL', at.limiter.key, 'w:' .. queue) end
  end
end

-- Write the admissions of this script to Redis.
local function write_admissions(now, lease)
  for _, g in pairs(looked) do
    if #g.entered > 0 then
      local places, fields = {}, {}
      for _, id in ipairs(g.entered) do
        table.insert(places, now + lease)
        table.insert(places, id)
      end
      in_chunks(places, function(...) call('ZADD', g.key .. ':running', ...) end)
      call('PEXPIRE', g.key .. ':running', LIMITER_MS)
      if g.tat then fields = {'tat', string.format('%.3f', g.tat), 'step', string.format('%.3f', g.step)} end
      if g.owed then
        for name, value in pairs({owed = g.owed, at = now, pay = g.pay, spare = g.spare}) do
          table.insert(fields, name)
          table.insert(fields, string.format('%.6f', value))
        end
      end
      if #fields > 0 then
        in_chunks(fields, function(...) call('HSET', g.key, ...) end)
        call('PEXPIRE', g.key, LIMITER_MS)
      end
    end
  end
end

-- Extend the places of a running delivery, with its lease.
local function keep_places(id, limiters, expiry)
  each_limiter(limiters, '#', function(name)
    call('ZADD', limiter_key(name) .. ':running', expiry, id)
    call('PEXPIRE', limiter_key(name) .. ':running', LIMITER_MS)
  end)
end

-- Wake the queues that a limiter holds back.
function wake_waiting(limiter)
  local K = limiter_key(limiter)
  local waits = call('HGET', K, 'waits')
  if not waits then return end
  call('HDEL', K, 'waits')
  for queue in string.gmatch(waits, '%S+') do wake(queue) end
end

-- Free the places of a delivery that no longer runs. Its charged tokens are returned, since its real usage was reported;
-- not so with a call `under_way`, whose usage will never be reported. `unused`: no request was begun, so it is returned.
function release_limiters(id, limiters, unused, under_way)
  each_limiter(limiters, '#', function(name, charged)
    local K = limiter_key(name)
    call('ZREM', K .. ':running', id)
    if charged and not under_way and call('HEXISTS', K, 'owed') == 1 then call('HINCRBYFLOAT', K, 'owed', '-' .. charged) end
    if unused then
      local step = call('HGET', K, 'step')
      if step then call('HINCRBYFLOAT', K, 'tat', '-' .. step) end
    end
    wake_waiting(name)
  end)
end

-- Adapt to a refusal because of the server's limits: halve concurrency and rate, at most once a second.
local function slow_down(K, now)
  local f = call('HMGET', K, 'cut', 'cap', 'rate', 'peak')
  local ago = math.abs(now - tonumber(f[1] or '0'))
  if ago < 1000 then return end
  local recent = ago < FORGOTTEN
  local runs = math.max(1, call('ZCARD', K .. ':running'))
  local cap = math.min(recent and tonumber(f[2]) or runs, runs)
  local rate = recent and tonumber(f[3]) or 1
  call('HSET', K, 'cut', int(now), 'cap', math.max(1, math.floor(cap / 2)), 'rate', string.format('%.3f', math.max(0.05, rate / 2)),
    'peak', math.max(runs, recent and tonumber(f[4]) or 0), 'grown', int(now))
end

-- Adapt to an answer: one more place for each round of answers, and a twentieth of the rate each second.
local function speed_up(K, now)
  local f = call('HMGET', K, 'cap', 'rate', 'peak', 'grown')
  if f[1] then
    local cap = f[1] + 1 / f[1]
    if cap > 2 * f[3] then call('HDEL', K, 'cap', 'peak') else call('HSET', K, 'cap', string.format('%.3f', cap)) end
  end
  if f[2] and now - tonumber(f[4]) >= 1000 then
    local rate = f[2] + 0.05
    if rate >= 1 then call('HDEL', K, 'rate', 'grown')
    else call('HSET', K, 'rate', string.format('%.3f', rate), 'grown', int(now)) end
  end
end

-- Count the tokens of a call at a limiter; `f` are its fields named in TOKENS.
local TOKENS = {'owed', 'at', 'pay', 'spare', 'mean'}

local function count_tokens(K, f, now, tokens)
  if not f[1] or tokens == 0 then return end
  local owed = math.max(-f[4], f[1] - math.max(0, now - f[2]) * f[3]) + tokens
  local mean = 0.8 * (tonumber(f[5]) or FIRST_MEAN) + 0.2 * tokens
  call('HSET', K, 'owed', string.format('%.3f', owed), 'at', string.format('%.3f', now), 'mean', string.format('%.1f', mean))
end

-- Return the limiter of a model and the ms for which its server asked for a pause, if the delivery was not admitted there,
-- as with a fallback model. A delivery that was admitted there has waited for the pause already.
local function paused_limiter(model, limiters, now)
  local limiter = limiters_of_model(model)[1]
  if not limiter or string.find(' ' .. limiters .. ' ', ' ' .. limiter .. ' ', 1, true) then return end
  local till = paused_till(tonumber(call('HGET', limiter_key(limiter), 'pause') or '0'), now)
  if till then return limiter, math.ceil(till - now) end
end

-- Report the result of a call to the limiters of its delivery and of the `model` that was called, which may be another:
-- `tokens` used, whether its usage is `known`, whether the server refused it because of its limits (`limited`), `pause_ms`
-- that the server asked for, and `health`: 'up' (answered), 'model' or 'endpoint' (that is down), '' (neither), with the
-- error text `why`.
function report_to_limiters(limiters, model, who, now, tokens, known, limited, pause_ms, health, why)
  each_limiter(limiters, '#', function(name, charged)
    if charged and string.sub(name, 1, 7) == 'expert:' then
      count_tokens(limiter_key(name), call('HMGET', limiter_key(name), unpack(TOKENS)), now, tokens)
    end
  end)
  for i, limiter in ipairs(limiters_of_model(model)) do
    local K = limiter_key(limiter)
    local f = call('HMGET', K, 'owed', 'at', 'pay', 'spare', 'mean', 'fails', 'broken', 'span', 'probe')
    count_tokens(K, f, now, tokens)
    local said = health
    if health == 'model' then said = i == 1 and 'down' or 'up' end
    if health == 'endpoint' then said = i == 1 and '' or 'down' end
    update_breaker(limiter, f[6], f[7], tonumber(f[8]), f[9], said, who, now, why)
    if i == 1 then
      -- a call that failed in another way shows nothing about the capacity of the server
      if limited then slow_down(K, now) elseif known and tokens > 0 then speed_up(K, now) end
      pause_ms = math.min(pause_ms, LONGEST_PAUSE)
      if pause_ms > 0 then
        local until_ms = math.max(now + pause_ms, tonumber(call('HGET', K, 'pause') or '0'))
        call('HSET', K, 'pause', int(math.ceil(until_ms)))
      end
      if limited or pause_ms > 0 then call('PEXPIRE', K, LIMITER_MS) end
    end
  end
end
