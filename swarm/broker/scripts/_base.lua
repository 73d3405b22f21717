-- Shared start of every script; connection.py puts it first. KEYS[1] is the prefix of all our keys.
-- Only scripts write more than one key, so no job is ever half written. All times are of the shared clock (_clock.lua).

local P = KEYS[1]
local call = redis.call

-- Let the script run even if Redis is out of memory: Redis refuses a script unless its first write needs no memory. Only
-- new jobs are to be refused; accepted ones go on, or a full Redis could never drain.
local function even_if_full() call('HDEL', P .. ':seen', '') end

-- Call `send` with `args`, a thousand (an even number) at a time: Lua's stack holds only a few thousand.
local function in_chunks(args, send)
  for i = 1, #args, 1000 do send(unpack(args, i, math.min(i + 999, #args))) end
end

local function int(x) return string.format('%.0f', math.floor(x)) end

-- Lifetime of an unended job's keys beyond its maximum age: at least the longest retention, and longer than any outage
-- after which its ending is still of interest. See `keep_ended`.
local UNENDED_MS = 30 * 86400000

local function job_key(job) return P .. ':job:' .. job end
local function delivery_key(id) return P .. ':delivery:' .. id end
local function queue_key(queue, part) return P .. ':queue:' .. queue .. ':' .. part end
local function expert_of(queue) return string.match(queue, '^run:([^@]+)') end
-- An owner is 'WORKER:CLAIM~NONCE'; older versions wrote 'WORKER:CLAIM'; '-' marks a delivery returned as lost.
local function worker_of(owner) return string.match(owner, '^(.*):%d+~?%d*$') end
local function job_of(id) return string.match(id, '^([^:]+)') end

-- Index of queues that hold deliveries, so that a claim need not read every queue of a catalog. Each enqueue adds its
-- queue; the claim that finds it empty removes it, or the next catalog if no worker serves it any more. The other keys of
-- a queue have a lifetime longer than that of any delivery, since queues come and go with their experts.
local noted_queues = {}
local WAKE_MS, TURNS_MS = 86400000, 40 * 86400000

local function note_queue(queue)
  if not noted_queues[queue] then call('SADD', P .. ':queues', queue) end
  noted_queues[queue] = true
end

-- Remove a queue from the index if it is empty. Returns true if it is not.
local function drop_if_empty(queue)
  if call('EXISTS', queue_key(queue, 'ready'), queue_key(queue, 'later'), queue_key(queue, 'leases')) > 0 then return true end
  call('SREM', P .. ':queues', queue)
  noted_queues[queue] = nil
end

-- Wake one worker that waits for this queue. Tokens are few: a worker that leaves work behind adds one for the next.
local tokens = {}

local function wake(queue)
  local list = queue_key(queue, 'wake')
  tokens[queue] = tokens[queue] or call('LLEN', list)
  if tokens[queue] < 4 then
    tokens[queue] = call('RPUSH', list, '1')
    if tokens[queue] == 1 then call('PEXPIRE', list, WAKE_MS) end
  end
end

-- Defined in the files that follow this one, in this order: _clock, _ledger, _breaker, _limits, _queue, _jobs.
local to_ready, release_limiters, presume_reservations, unpark, wake_waiting, report_to_limiters
