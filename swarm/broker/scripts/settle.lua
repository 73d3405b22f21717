-- Settle the cost of a model call, and report its result to the limiters. Settling twice changes nothing.
-- ARGV: delivery, owner, hold (`owner.call`), micro-dollars or '' (unknown: the whole reservation counts as presumed), tokens,
--       '1' if the server refused because of its limits or '', ms of pause that it asked for, the model that was called or
--       '' if it has no limiters, its health: 'up', 'model' (that is down), 'endpoint' or '', and the error text.
-- Returns the amount reserved, or '-1' if it is settled already. A presumed cost, of a claim that was lost, can still be
-- settled lower. A reservation that Redis has lost in a failover is settled as well.
local id, hold = ARGV[1], ARGV[3]
local job, D, now = job_of(id), delivery_key(id), clock()
local M, name = ledger_key(job), id .. ' ' .. hold
local held = call('HGET', M, 'h:' .. name)
local presumed = not held and call('HGET', M, 'p:' .. name)
local m, actual = ledger_entry(job), tonumber(ARGV[4])
if not held and (not actual or not m or call('HEXISTS', M, 's:' .. name) == 1) then return '-1' end

even_if_full()
local tokens = tonumber(ARGV[5])
if tokens > 0 then add_to_books(m, {tokens = tokens}) end
local amount = tonumber(held or presumed or '0')
call('HDEL', M, 'h:' .. name, 'p:' .. name)
if actual then call('HSET', M, 's:' .. name, '') end
if presumed then
  book(job, m, 0, math.min(actual, amount), -amount)
elseif actual then
  -- in full, even if it exceeds the reservation
  book(job, m, -amount, actual, 0)
else
  call('HSET', M, 'p:' .. name, held)
  book(job, m, -amount, 0, amount)
end
if held then
  local d = call('HMGET', D, 'holds', 'owner', 'gates')
  local left = {}
  for other in string.gmatch(d[1] or '', '%S+') do
    if other ~= hold then table.insert(left, other) end
  end
  if #left > 0 then
    call('HSET', D, 'holds', table.concat(left, ' '))
  elseif d[1] then
    call('HDEL', D, 'holds')
  end
  if d[2] == ARGV[2] then
    local who = id .. ' ' .. ARGV[2] .. ' ' .. hold .. ' '
    report_to_limiters(d[3] or '', ARGV[8], who, now, tokens, actual, ARGV[6] ~= '', tonumber(ARGV[7]), ARGV[9], ARGV[10])
  end
end
make_rooms(job, m)
return int(amount)
