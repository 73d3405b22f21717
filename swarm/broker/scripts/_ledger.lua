-- What jobs may spend and have spent, in micro-dollars. See ledger.py.
--
-- Every call is booked to its job, to the job's tenant on the day of its acceptance, and to that day. While it runs its
-- greatest cost is held: out of the job's budget, which was set aside (`earmarked`) of tenant and day at submit, or
-- where the job has none as `open` of tenant and day themselves. Then it is `settled` or, if nobody knows, `presumed`. What it
-- used in `tokens`, sent and received, is counted for tenant and day.
--
-- A job that an expert asked for has a `parent`. What it holds and spends stands in its own books and in those of every job
-- above it, and counts once for tenant and day: those of the outermost job, whose budget, if it has one, binds them all.

local DAY_MS, BOOKS_MS = 86400000, 40 * 86400000

local function money_key(job) return job_key(job) .. ':money' end
local function books_key(scope) return P .. ':budget:' .. scope end
local function day_of(ms) return int(tonumber(ms) / DAY_MS) end
local function scopes_of(tenant, day) return {'tenant:' .. tenant .. ':' .. day, 'day:' .. day} end

-- A job's money, or nil when it never had to do with any.
local function money_of(job)
  local f = call('HMGET', money_key(job), 'limit', 'settled', 'presumed', 'open', 'over', 'tenant', 'day', 'parent')
  if not f[7] then return nil end
  return {
    limit = tonumber(f[1]), settled = tonumber(f[2]) or 0, presumed = tonumber(f[3]) or 0, open = tonumber(f[4]) or 0,
    over = f[5] and true, scopes = scopes_of(f[6], f[7]), day = f[7], parent = f[8],
  }
end

-- What is still set aside for a job that has not ended.
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

-- Change what stands in the books: the job's, those above it, its tenant's and the day's, in one.
local function book(job, m, open, settled, presumed)
  local before = earmark(m)
  m.open, m.settled, m.presumed = m.open + open, m.settled + settled, m.presumed + presumed
  add(money_key(job), {open = open, settled = settled, presumed = presumed})
  local above = m.parent and money_of(m.parent)
  if above then return book(m.parent, above, open, settled, presumed) end
  local earmarked = earmark(m) - before
  add_to_books(m, {open = m.limit and not m.over and 0 or open, settled = settled, presumed = presumed, earmarked = earmarked})
end

-- What a scope may spend: a tenant's own limit, else the one that the settings give; '' for none.
local function limit_of(scope, default)
  local tenant = string.match(scope, '^tenant:(.*):%d+$')
  return tenant and call('HGET', P .. ':tenants', tenant .. ':budget') or default
end

-- Keep that where every script finds it.
local function keep_limit(scope, limit)
  if limit == '' then
    call('HDEL', books_key(scope), 'limit')
  else
    call('HSET', books_key(scope), 'limit', limit)
    call('PEXPIRE', books_key(scope), BOOKS_MS)
  end
end

-- What a scope has spent, what more is open in it, and what it may spend.
local function taken(scope)
  local job = string.match(scope, '^job:(.*)$')
  local f = call('HMGET', job and money_key(job) or books_key(scope), 'settled', 'presumed', 'open', 'earmarked', 'limit')
  local n = {}
  for i = 1, 5 do n[i] = tonumber(f[i]) end
  return (n[1] or 0) + (n[2] or 0), (n[3] or 0) + (n[4] or 0), n[5]
end

-- What fits a scope now, and what would fit it with nothing open.
local function money_room(scope)
  local spent, open, limit = taken(scope)
  local most = (limit or math.huge) - spent
  return most - open, most
end

-- Whether a delivery that was to wait for room need not: it fits by now, or never will.
local function money_settles(scope, need)
  local room, most = money_room(scope)
  return need <= room or need > most
end

-- Whoever waits for room in a scope and has it now goes on; or later in this script, if that goes through many deliveries.
local noted

local function make_room(scope)
  if noted then
    noted[scope] = true
  elseif call('EXISTS', P .. ':parked:' .. scope) == 1 then
    unpark(scope, money_room(scope))
  end
end

local function note_rooms() noted = noted or {} end

local function make_noted()
  local scopes = noted or {}
  noted = nil
  for scope in pairs(scopes) do make_room(scope) end
end

-- What is set aside for a job is taken of its tenant and its day until it ends, whatever becomes of it.
local function make_rooms(job, m)
  local above = m.parent and money_of(m.parent)
  if above then return make_rooms(m.parent, above) end
  if m.limit and not m.over then return make_room('job:' .. job) end
  for _, scope in ipairs(m.scopes) do make_room(scope) end
end

-- A delivery's claim is over, and calls that it had reserved for were neither settled nor released: what became of them
-- is unknown, so they count as spent (`presumed`) until somebody knows better.
function money_lost(job, id)
  local M, D = money_key(job), delivery_key(id)
  local holds, m, lost = call('HGET', D, 'holds'), money_of(job), 0
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

-- Begin a job's books. `limit`: its budget, which is set aside of its tenant's and its day's, or nil; `parent`: the job
-- that it belongs to, or nil.
local function money_begins(job, tenant, day, expire, limit, parent)
  local M = money_key(job)
  call('HSET', M, 'tenant', tenant, 'day', day)
  if limit then call('HSET', M, 'limit', limit) end
  if parent then call('HSET', M, 'parent', parent) end
  expire_at(M, expire)
  local m = money_of(job)
  if limit then add_to_books(m, {earmarked = tonumber(limit)}) end
  return m
end

-- The money of a job that is to ask a model, then the job that pays and that one's money: the outermost job above it, or
-- itself. Nothing if one of them has ended or is to be cancelled.
local function payer_of(job)
  local f = call('HMGET', job_key(job), 'expire', 'ending', 'cancel', 'tenant', 'accepted', 'parent')
  if not f[1] or f[2] or f[3] then return nil end
  if not f[6] then
    local m = money_of(job) or money_begins(job, f[4], day_of(f[5]), f[1])
    return m, job, m
  end
  local above, payer, pays = payer_of(f[6])
  if not above then return nil end
  return money_of(job) or money_begins(job, f[4], above.day, f[1], nil, f[6]), payer, pays
end

-- A job has ended, none of its deliveries is left: what was set aside for it and not used is free, but for what is still
-- open of jobs below it, which is presumed until it is settled. Answers what it cost, settled and presumed; nothing for a
-- job that never asked a model.
local function money_ended(job)
  local m = money_of(job)
  if not m then return end
  local rest = earmark(m)
  m.over = true
  call('HSET', money_key(job), 'over', '1')
  if m.limit then add_to_books(m, {earmarked = -rest, open = m.open}) end
  make_rooms(job, m)
  return m.settled, m.presumed + m.open
end
