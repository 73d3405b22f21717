-- Shared clock, in ms. The clock of Redis may step back or forward, and be behind after a failover to another host. The
-- shared clock never goes back, and advances as the workers measure. The hash `seen` holds
--   clock   time of the last contact by a worker
--   ahead   how far the shared clock is ahead of Redis' own
--   gaps    recent times without any contact, in which no lease was renewed: 'FROM:TILL ' each, the latest first
--   lease   how long a lease lasts

local S = P .. ':seen'
-- difference up to which two clocks count as equal
local STEP_MS = 1000
local ahead, cut

local function own_clock()
  local t = call('TIME')
  return t[1] * 1000 + t[2] / 1000
end

-- Return the time, with microseconds as a fraction, so that scores keep the order of enqueueing.
local function clock()
  local f = call('HMGET', S, 'clock', 'ahead')
  ahead = tonumber(f[2]) or 0
  return math.max(tonumber(f[1]) or 0, own_clock() + ahead)
end

-- Convert a time of the shared clock to Redis' own.
local function in_redis(time)
  ahead = ahead or tonumber(call('HGET', S, 'ahead')) or 0
  return int(time - ahead)
end

local function expire_at(key, time) call('PEXPIREAT', key, in_redis(time)) end

-- Choose the time: from Redis' clock `now`, or as a worker `measured` it since its last contact (nil: it had none).
local function choose_time(now, last, lease, measured)
  if measured and math.abs(now - measured) <= STEP_MS then return now end
  if measured and now < measured then return measured end
  if now - last <= lease / 2 then return now end
  return measured or now - ahead
end

-- Return the expiry time up to which leases have expired, and the gaps that still matter. Gaps do not count against a lease:
-- one granted before a gap lasts longer by the gap. Each contact between two gaps counts as a sixth of a lease at least, so
-- after seven gaps no unrenewed lease is spared.
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

-- Record a contact by a worker, with the time it measured, and return the time. Half a lease without contact is a gap. Its
-- first third still counts against leases: a worker that renews every third then has as much time left for the next
-- renewal, and more than after a stall just too short for a gap. After a gap longer than a lease, a worker that lost its
-- connection has a third of a lease more to come back.
local function record_contact(lease, measured)
  local f = call('HMGET', S, 'clock', 'ahead', 'gaps')
  local own, last, gaps = own_clock(), tonumber(f[1]), f[3] or ''
  ahead = tonumber(f[2]) or 0
  local now = own + ahead
  if last then
    now = math.max(last, choose_time(now, last, lease, tonumber(measured)))
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

-- Return the time up to which leases have expired.
local function cutoff(now)
  if not cut then
    local f = call('HMGET', S, 'gaps', 'lease')
    cut = count_gaps(now, tonumber(f[2]) or 0, f[1] or '')
  end
  return cut
end
