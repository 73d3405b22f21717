-- Write one decision (progress, actions and cursor) and acknowledge, unless another was written since the read.
-- ARGV: job, owner, token read, new token, cursor, progress, graph or '', events, releases, withdrawals,
--       number of the answer asked for or 0, number of the plan asked for or 0, ending or '', answer, complete ('1' or ''),
--       then per event: kind, data; per release: subtask, attempt, expert, queue, delay ms, record; per withdrawal: subtask, attempt.
-- Returns 'done'; 'again' (queued again, since new events came); 'conflict'; 'gone' (the claim is lost).
local job, owner = ARGV[1], ARGV[2]
local id, J, now = job .. ':advance', job_key(job), clock()
local read = call('HMGET', J, 'token', 'ending', 'advance', 'asked:answer', 'asked:plan')
local token = read[1] or ''
if token == ARGV[4] then return 'done' end
if call('HGET', delivery_key(id), 'owner') ~= owner then return 'gone' end
if token ~= ARGV[3] then return 'conflict' end
if read[2] then
  forget(job, id, 'advance')
  return 'done'
end

even_if_full()
call('HSET', J, 'token', ARGV[4], 'cursor', ARGV[5], 'progress', ARGV[6])
if ARGV[7] ~= '' then call('HSET', J, 'graph', ARGV[7]) end
local events = {}
local function tell(kind, data)
  events[#events + 1] = kind
  events[#events + 1] = data
end
local at = 16
for _ = 1, ARGV[8] do
  tell(ARGV[at], ARGV[at + 1])
  at = at + 2
end
for i = 1, ARGV[9] do
  local subtask, attempt, expert, queue, delay, record = unpack(ARGV, at, at + 5)
  tell('released', string.format(
    '{"subtask":"%s","attempt":%s,"expert":"%s","delay":%s}', subtask, attempt, expert, delay))
  -- fractions of a ms keep the order of the plan among subtasks released together
  local score = now + i / 1000
  enqueue(job, job .. ':' .. subtask .. ':' .. attempt, queue, record, score, score + tonumber(delay))
  at = at + 6
end
defer_rooms()
for _ = 1, ARGV[10] do
  local subtask, attempt = ARGV[at], ARGV[at + 1]
  local run = job .. ':' .. subtask .. ':' .. attempt
  call('HSETNX', J, 's:' .. subtask, '')
  local queue, stopped = call('HGET', J .. ':live', run), ''
  if queue then
    local held = call('HGET', delivery_key(run), 'owner')
    if forget(job, run, queue) == 'leases' and stop(run, held) then stopped = ',"stopped":true' end
  end
  tell('withdrawn', string.format('{"subtask":"%s","attempt":%s%s}', subtask, attempt, stopped))
  at = at + 2
end
make_deferred_rooms()
if #events > 0 then append_all(job, now, events) end
-- each number is made once: a decision that was written late may request one that exists by now
for kind, asked in pairs({answer = {ARGV[11], read[4]}, plan = {ARGV[12], read[5]}}) do
  local number = tonumber(asked[1])
  if number > tonumber(asked[2] or '0') then
    call('HSET', J, 'asked:' .. kind, number)
    local name = job .. ':' .. kind .. (number > 1 and ':' .. number or '')
    enqueue(job, name, kind, router_record(kind, job, now), now)
  end
end
keep_turns()
if ARGV[13] ~= '' then
  forget(job, id, 'advance')
  end_job(job, now, ARGV[13], ARGV[14], ARGV[15] ~= '')
  return 'done'
end

local again = read[3] == 'again'
forget(job, id, 'advance')
call('HDEL', J, 'advance')
if again then ask_advance(job, now) end
return again and 'again' or 'done'
