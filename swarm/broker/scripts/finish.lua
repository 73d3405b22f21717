-- Store the outcomes of deliveries of one job, append them to the log, request `advance` and acknowledge, atomically.
-- ARGV: bytes of results that the job may keep; then for each delivery: id, queue, owner, event, data, body key or '', body,
-- solved subtask or ''
-- Returns for each 'ok', or 'gone' if the claim is lost (then nothing of it is written; a retry finds this too). A solution
-- counts despite a lost lease while its delivery is queued or runs elsewhere and the subtask is unsolved; the worker that
-- runs it again is told to stop.
local most, job, now = tonumber(ARGV[1]), job_of(ARGV[2]), clock()
local J = job_key(job)
local f = call('HMGET', J, 'expire', 'ending', 'bytes', 'tenant')
local verdicts, events, done, stored = {}, {}, {}, false

local function counts(id, queue, solves)
  return solves ~= '' and f[1] and not f[2] and call('HEXISTS', delivery_key(id), 'record') == 1
    and call('HEXISTS', J, 's:' .. solves) == 0 and not is_cancelled(job, id, queue)
end
-- A result that would exceed the job's byte limit becomes a failure, and its body is not stored. So does one that would
-- exceed the tenant's limit by a quarter: at the limit new jobs are refused, and the quarter is room for accepted ones.
local before = tonumber(f[3] or '0')
local kept, held, limit = before, 0, nil
if f[4] then held, limit = held_by(f[4], now) end

local function too_much(bytes)
  if kept + bytes > most then
    return string.format(
      'the results of this job have %.0f bytes with this one, the limit is %.0f (SWARM_MAX_RESULTS of the workers)',
      kept + bytes, most)
  elseif limit and held + kept - before + bytes > 1.25 * limit then
    return string.format(
      'the jobs of tenant %s keep %.0f bytes with this result, the limit is %.0f and a quarter for running jobs '
      .. '(SWARM_MAX_RESULTS_TENANT of the client); they keep less as results expire (SWARM_RETENTION)',
      f[4], held + kept - before + bytes, limit)
  end
end

local function bounded(kind, data, key, body, solves)
  local problem = solves ~= '' and too_much(#body)
  if not problem then
    if key ~= '' then kept = kept + #body end
    return data, key, body, solves
  end
  local event = cjson.decode(data)
  event.body, event.size, event.failure = nil, nil, {reason = 'too_large', message = problem}
  return cjson.encode(event), '', '', ''
end
for i = 2, #ARGV, 8 do
  local id, queue, owner, kind, data, key, body, solves = unpack(ARGV, i, i + 7)
  local D = delivery_key(id)
  local held = call('HMGET', D, 'owner', 'gates', 'holds', 'parked')
  local late = held[1] ~= owner and counts(id, queue, solves)
  if late then stop(id, held[1]) end
  if held[1] ~= owner and not late then
    table.insert(verdicts, 'gone')
  elseif late then
    table.insert(verdicts, 'ok')
    forget(job, id, queue)
    data, key, body, solves = bounded(kind, data, key, body, solves)
    if key ~= '' then
      call('HSETNX', J .. ':bodies', key, body)
      stored = true
      call('HSETNX', J, 's:' .. solves, key)
    end
    table.insert(events, kind)
    table.insert(events, data)
  else
    table.insert(verdicts, 'ok')
    -- the same as `forget`, but batched for all deliveries with a lease
    if held[2] then release_limiters(id, held[2]) end
    if held[3] then presume_reservations(job, id) end
    if held[4] then make_room(held[4]) end
    call('DEL', D)
    done[queue] = done[queue] or {}
    table.insert(done[queue], id)
    if f[1] and not f[2] then
      data, key, body, solves = bounded(kind, data, key, body, solves)
      if key ~= '' then
        call('HSETNX', J .. ':bodies', key, body)
        stored = true
      end
      if solves ~= '' then call('HSETNX', J, 's:' .. solves, key) end
      table.insert(events, kind)
      table.insert(events, data)
    end
  end
end
for queue, ids in pairs(done) do
  in_chunks(ids, function(...)
    call('HDEL', J .. ':live', ...)
    call('ZREM', queue_key(queue, 'leases'), ...)
  end)
end
if stored then
  expire_at(J .. ':bodies', f[1])
  call('HSET', J, 'bytes', int(kept))
  call('HINCRBY', J, 'held', int(kept - before))
  hold_bytes(f[4], now, f[1], kept - before)
end
if #events > 0 then
  append_all(job, now, events)
  ask_advance(job, now)
end
return verdicts
