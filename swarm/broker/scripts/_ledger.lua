-- Ledger: budgets and spending of jobs, tenants and days, in micro-dollars. See ledger.py.
--
-- Each call is booked to its job, to the job's tenant on the day of its acceptance, and to that day. While it runs, its
-- worst-case cost is reserved: from the job's budget, which was set aside (`earmarked`) from tenant and day at submit, or,
-- for a job without a budget, as `open` of tenant and day. Then it is `settled` or, if its cost is unknown, `presumed`.
-- Its `tokens`, input and output, are counted for tenant and day.
--
-- A child job, submitted by an expert, has a `parent`. Its reservations and costs are booked to itself and to every job above
-- it, and once to tenant and day: those of the outermost job, whose budget, if it has one, limits them all.

local DAY_MS, BOOKS_MS = 86400000, 40 * 86400000

local function ledger_key(job) return job_key(job) .. ':money' end
local function books_key(scope) return P .. ':budget:' .. scope end
local function day_of(ms) return int(tonumber(ms) / DAY_MS) end
local function scopes_of(tenant, day) return {'tenant:' .. tenant .. ':' .. day, 'day:' .. day} end

-- Read the ledger entry of a job; nil if it has none.
local function ledger_entry(job)
  local f = call('HMGET', ledger_key(job), 'limit', 'settled', 'presumed', 'open', 'over', 'tenant', 'day', 'parent')
  if not f[7] then return nil end
  return {
    limit = tonumber(f[1]), settled = tonumber(f[2]) or 0, presumed = tonumber(f[3]) or 0, open = tonumber(f[4]) or 0,
    over = f[5] and true, scopes = scopes_of(f[6], f[7]), day = f[7], parent = f[8],
  }
end

-- Return what is still earmarked for a job that has not ended.
local function earmark(m)
  if not m.limit or m.over then return 0 end
  return math.max(0, m.limit - m.settled - m.presumed)
end

local function add(key, changes)
  for field, by in pairs(changes) do
    if by ~= 0 then call('HINCRBY', key, field, int(by)) end
  end
end

local function add_to_books(m, changes)
  for _, scope in ipairs(m.scopes) do
    add(books_key(scope), changes)
    call('PEXPIRE', books_key(scope), BOOKS_MS)
  end
end

-- Book changes to the job, the jobs above it, its tenant and the day.
local function book(job, m, open, settled, presumed)
  local before = earmark(m)
  m.open, m.settled, m.presumed = m.open + open, m.settled + settled, m.presumed + presumed
  add(ledger_key(job), {open = open, settled = settled, presumed = presumed})
  local above = m.parent and ledger_entry(m.parent)
  if above then return book(m.parent, above, open, settled, presumed) end
  local earmarked = earmark(m) - before
  add_to_books(m, {open = m.limit and not m.over and 0 or open, settled = settled, presumed = presumed, earmarked = earmarked})
end

-- Return the budget of a scope: a tenant's own, else the `default` of the settings; '' for none.
local function limit_of(scope, default)
  local tenant = string.match(scope, '^tenant:(.*):%d+$')
  return tenant and call('HGET', P .. ':tenants', tenant .. ':budget') or default
end

-- Store it in the scope's entry, where every script reads it.
local function keep_limit(scope, limit)
  if limit == '' then
    call('HDEL', books_key(scope), 'limit')
  else
    call('HSET', books_key(scope), 'limit', limit)
    call('PEXPIRE', books_key(scope), BOOKS_MS)
  end
end

-- Return what a scope has spent, what is reserved in it, and its limit.
local function taken(scope)
  local job = string.match(scope, '^job:(.*)$')
  local f = call('HMGET', job and ledger_key(job) or books_key(scope), 'settled', 'presumed', 'open', 'earmarked', 'limit')
  local n = {}
  for i = 1, 5 do n[i] = tonumber(f[i]) end
  return (n[1] or 0) + (n[2] or 0), (n[3] or 0) + (n[4] or 0), n[5]
end

-- Return the amount that fits a scope now, and the one that would fit without open reservations.
local function budget_room(scope)
  local spent, open, limit = taken(scope)
  local most = (limit or math.huge) - spent
  return most - open, most
end

-- Whether a delivery need not wait for room: its need fits now, or never will.
local function need_not_wait(scope, need)
  local room, most = budget_room(scope)
  return need <= room or need > most
end

-- Resume deliveries parked for a scope that now has room; between `defer_rooms` and `make_deferred_rooms`, only collect the scope.
local noted

local function make_room(scope)
  if noted then
    noted[scope] = true
  elseif call('EXISTS', P .. ':parked:' .. scope) == 1 then
    unpark(scope, budget_room(scope))
  end
end

local function defer_rooms() noted = noted or {} end

local function make_deferred_rooms()
  local scopes = noted or {}
  noted = nil
  for scope in pairs(scopes) do make_room(scope) end
end

-- Resume deliveries parked for any budget in which a change of this job may have made room. A job's own budget stays
-- earmarked of tenant and day until the job ends, so before that only the job's own scope gains room.
local function make_rooms(job, m)
  local above = m.parent and ledger_entry(m.parent)
  if above then return make_rooms(m.parent, above) end
  if m.limit and not m.over then return make_room('job:' .. job) end
  for _, scope in ipairs(m.scopes) do make_room(scope) end
end

-- Book the open reservations of a lost claim as `presumed`: their cost is unknown, so they count as spent until settled.
function presume_reservations(job, id)
  local M, D = ledger_key(job), delivery_key(id)
  local holds, m, lost = call('HGET', D, 'holds'), ledger_entry(job), 0
  call('HDEL', D, 'holds')
  if not holds or not m then return end
  for hold in string.gmatch(holds, '%S+') do
    local amount = call('HGET', M, 'h:' .. id .. ' ' .. hold)
    if amount then
      call('HDEL', M, 'h:' .. id .. ' ' .. hold)
      call('HSET', M, 'p:' .. id .. ' ' .. hold, amount)
      lost = lost + amount
    end
  end
  book(job, m, -lost, 0, lost)
  make_rooms(job, m)
end

-- Create a job's ledger entry. `limit`: its budget, earmarked of tenant and day, or nil; `parent`: its parent job, or nil.
local function create_entry(job, tenant, day, expire, limit, parent)
  local M = ledger_key(job)
  call('HSET', M, 'tenant', tenant, 'day', day)
  if limit then call('HSET', M, 'limit', limit) end
  if parent then call('HSET', M, 'parent', parent) end
  expire_at(M, expire)
  local m = ledger_entry(job)
  if limit then add_to_books(m, {earmarked = tonumber(limit)}) end
  return m
end

-- Return the ledger entry of a job that calls a model, then the job that pays (the outermost above it, or itself) and its
-- entry. Returns nil if one of them has ended or is to be cancelled.
local function payer_of(job)
  local f = call('HMGET', job_key(job), 'expire', 'ending', 'cancel', 'tenant', 'accepted', 'parent')
  if not f[1] or f[2] or f[3] then return nil end
  if not f[6] then
    local m = ledger_entry(job) or create_entry(job, f[4], day_of(f[5]), f[1])
    return m, job, m
  end
  local above, payer, pays = payer_of(f[6])
  if not above then return nil end
  return ledger_entry(job) or create_entry(job, f[4], above.day, f[1], nil, f[6]), payer, pays
end

-- Close the ledger entry of an ended job without deliveries: release the unused part of its budget, except for open
-- reservations of child jobs, which are presumed until settled. Returns its settled and presumed cost; nothing for a job
-- that called no model.
local function close_entry(job)
  local m = ledger_entry(job)
  if not m then return end
  local rest = earmark(m)
  m.over = true
  call('HSET', ledger_key(job), 'over', '1')
  if m.limit then add_to_books(m, {earmarked = -rest, open = m.open}) end
  make_rooms(job, m)
  return m.settled, m.presumed + m.open
end
