-- Park a claim until a budget has room for its need, without counting an attempt.
-- ARGV: id, queue, owner, scope, micro-dollars that it needs. Returns 'parked', 'ready' (it need not wait) or 'gone'.
local id, queue, owner, scope, need = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local job, D = job_of(id), delivery_key(id)
if call('HGET', D, 'owner') ~= owner then return 'gone' end
local expire = call('HGET', job_key(job), 'expire')
if not expire then
  forget(job, id, queue)
  return 'gone'
end

even_if_full()
unclaim(job, id, queue, true)
-- the next claim reports this wait
call('HSET', D, 'awaited', string.match(scope, '^%a+'))
-- room made before this point did not count this delivery among the waiting
if need_not_wait(scope, tonumber(need)) then
  to_ready(id, queue)
  return 'ready'
end
local key = P .. ':parked:' .. scope
local d = call('HMGET', D, 'score', 'parked')
call('HSET', D, 'parked', scope, 'need', need)
call('ZADD', key, d[1], id)
if tonumber(expire) > clock() + call('PTTL', key) then expire_at(key, expire) end
if d[2] and d[2] ~= scope then make_room(d[2]) end
return 'parked'
