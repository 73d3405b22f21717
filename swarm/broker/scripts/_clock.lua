-- The swarm's clock, in ms. Redis' own may step, back or forward, and be behind after a failover to another host. The
-- swarm's never goes back, and goes forward as its workers measure. The hash `seen` holds
--   clock   the time when a worker was last here
--   ahead   how far the swarm's clock is ahead of Redis' own
--   gaps    when nobody was here of late, so that no lease was renewed: 'FROM:TILL ' each, the latest first
--   lease   how long a lease lasts

local S = P .. ':seen'
-- what two clocks that are right may differ by
local STEP_MS = 1000
local ahead, cut

local function own_clock()
  local t = call('TIME')
  return t[1] * 1000 + t[2] / 1000
end

-- The time, with microseconds behind the point: scores keep the order of enqueueing.
local function clock()
  local f = call('HMGET', S, 'clock', 'ahead')
  ahead = tonumber(f[2]) or 0
  return math.max(tonumber(f[1]) or 0, own_clock() + ahead)
end

-- A time of the swarm's clock as Redis' own has it.
local function in_redis(time)
  ahead = ahead or tonumber(call('HGET', S, 'ahead')) or 0
  return int(time - ahead)
end

local function expire_at(key, time) call('PEXPIREAT', key, in_redis(time)) end

-- The time out of what Redis' clock says and what a worker measured since it was last here (nil: it never was).
local function judge(now, last, lease, measured)
  if measured and math.abs(now - measured) <= STEP_MS then return now end
  if measured and now < measured then return measured end
  if now - last <= lease / 2 then return now end
  return measured or now - ahead
end

-- Up to when a lease must have run for it to have run out, and the gaps that matter for that. A lease counts only time in
-- which somebody was here: one that was given before a gap lasts longer by the gap. Whoever was here between two gaps counts
-- for a sixth of a lease at least: after seven gaps nothing that nobody renewed is spared.
local function count_gaps(now, lease, gaps)
  local left, till, least, kept = lease, now, 0, {}
  for from, ended in string.gmatch(gaps, '(%d+):(%d+) ') do
    local run = math.max(least, till - ended)
    if run >= left then break end
    left, till, least = left - run, math.min(till, tonumber(from)), lease / 6
    table.insert(kept, from .. ':' .. ended .. ' ')
  end
  return math.min(now, till - left + lease), table.concat(kept)
end

-- A worker is here and says what it measured. Notes that, and a gap if nobody was here for half a lease. The first third of
-- it counts as time in which somebody was: who renews each third has as much left to do so again, and more than after a
-- stall that is just too short for a gap. Who lost its connection in a long one has a third more to come back. Answers the
-- time.
local function see(lease, measured)
  local f = call('HMGET', S, 'clock', 'ahead', 'gaps')
  local own, last, gaps = own_clock(), tonumber(f[1]), f[3] or ''
  ahead = tonumber(f[2]) or 0
  local now = own + ahead
  if last then
    now = math.max(last, judge(now, last, lease, tonumber(measured)))
    local gap = now - last
    if gap > lease / 2 then
      gaps = int(last + lease / 3) .. ':' .. int(now + (gap > lease and lease / 3 or 0)) .. ' ' .. gaps
    end
  end
  ahead = now - own
  cut, gaps = count_gaps(now, lease, gaps)
  call('HSET', S, 'clock', string.format('%.3f', now), 'ahead', string.format('%.3f', ahead), 'gaps', gaps, 'lease', int(lease))
  return now
end

-- Leases that end up to this time have run out.
local function cutoff(now)
  if not cut then
    local f = call('HMGET', S, 'gaps', 'lease')
    cut = count_gaps(now, tonumber(f[2]) or 0, f[1] or '')
  end
  return cut
end
