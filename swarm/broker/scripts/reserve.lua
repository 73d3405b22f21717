-- Reserve the worst-case cost of a model call before it is made.
-- ARGV: delivery, owner, hold (`owner.call`), micro-dollars or '' (the model has no price), a tenant's and a day's budget
--       by the settings or '', '1' if a call without a price is refused where a budget applies, the model or '' if it has
--       no limiters, ms that the call may take.
-- Returns {'ok'}, {'free'} (reserved; no budget applies), {'full', scope} (other reservations of the scope are open),
-- {'never', scope, left, limit} (it would not fit without open ones), {'unpriced'}, {'gone'} (the claim is lost, or the job
-- has ended or is to be cancelled), {'broken', limiter, ms, '0', text} (its breaker is open; the last error), {'dead', ...} (open
-- for too long to wait), {'paused', limiter, ms} (its server accepts no calls). 'ok' and 'free' are followed by 'probe' if the
-- call probes a half-open breaker.

-- ms in which a call that has ended is settled, at most
local SETTLED_MS = 2000
local id, owner, hold, default = ARGV[1], ARGV[2], ARGV[3], {ARGV[5], ARGV[6]}
local job, D = job_of(id), delivery_key(id)
local M = ledger_key(job)
local d = call('HMGET', D, 'owner', 'holds', 'parked', 'gates', 'queue')
if d[1] ~= owner or is_cancelled(job, id, d[5]) then return {'gone'} end
local f = call('HMGET', job_key(job), 'expire', 'ending')
if not f[1] or f[2] then return {'gone'} end

even_if_full()
local m, payer, pays = payer_of(job)
if not m then return {'gone'} end

local binding = {'job:' .. payer}
if not pays.limit then
  binding = {}
  for i, scope in ipairs(pays.scopes) do
    local limit = limit_of(scope, default[i])
    keep_limit(scope, limit)
    if limit ~= '' then table.insert(binding, scope) end
  end
end
if ARGV[4] == '' and #binding > 0 and ARGV[7] ~= '' then return {'unpriced'} end

local amount, held = tonumber(ARGV[4]) or 0, 'h:' .. id .. ' ' .. hold
local who, probe = id .. ' ' .. owner .. ' ' .. hold .. ' ', false
if call('HEXISTS', M, held) == 0 and call('HEXISTS', M, 's:' .. id .. ' ' .. hold) == 0 then
  local now = clock()
  local broken, tries, dead, why = open_breaker(ARGV[8], id, owner, hold, now)
  if broken then return {dead and 'dead' or 'broken', broken, int(tries), '0', why} end
  local paused, ms = paused_limiter(ARGV[8], d[4] or '', now)
  if paused then return {'paused', paused, int(ms)} end
  local full
  for _, scope in ipairs(binding) do
    local room, most = budget_room(scope)
    if amount > 0 and amount > most then
      local limit = call('HGET', scope == 'job:' .. payer and ledger_key(payer) or books_key(scope), 'limit')
      return {'never', scope, int(math.max(0, most)), limit}
    end
    if amount > 0 and amount > room then full = full or scope end
  end
  if full then return {'full', full} end
  call('HSET', M, held, int(amount))
  call('HSET', D, 'holds', d[2] and d[2] .. ' ' .. hold or hold)
  if d[3] then call('HDEL', D, 'parked', 'need') end
  book(job, m, amount, 0, 0)
  for _, K in ipairs(tries) do
    start_probe(K, id, owner, hold, now + tonumber(ARGV[9]) + SETTLED_MS)
    probe = true
  end
else
  -- a repeated reservation: a probe stays a probe
  for _, limiter in ipairs(limiters_of_model(ARGV[8])) do
    probe = probe or string.sub(call('HGET', limiter_key(limiter), 'probe') or '', 1, #who) == who
  end
end
return {#binding > 0 and ARGV[4] ~= '' and 'ok' or 'free', probe and 'probe' or nil}
