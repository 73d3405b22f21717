-- What every script shares; put in front of each by connection.py. KEYS[1] is the prefix of all our keys.
-- A script is the only writer of more than one key, so a job is never half there. All times are of the swarm's clock.

local P = KEYS[1]
local call = redis.call

-- A Redis without memory refuses a script unless it began with a write that needs none. Only new jobs are to be refused:
-- what was accepted goes on, or a full Redis could never empty itself.
local function even_if_full() call('HDEL', P .. ':seen', '') end

-- Give `send` all of `args`, a thousand at a time, an even number: Lua's stack holds no more than some thousands.
local function in_chunks(args, send)
  for i = 1, #args, 1000 do send(unpack(args, i, math.min(i + 999, #args))) end
end

local function int(x) return string.format('%.0f', math.floor(x)) end

-- How long the keys of a job live beyond its greatest age as long as it has not ended: no shorter than the longest
-- retention, and longer than any outage after which somebody still wants to know how it ended. See `keep_ended`.
local UNENDED_MS = 30 * 86400000

local function job_key(job) return P .. ':job:' .. job end
local function delivery_key(id) return P .. ':delivery:' .. id end
local function queue_key(queue, part) return P .. ':queue:' .. queue .. ':' .. part end
local function expert_of(queue) return string.match(queue, '^run:([^@]+)') end
-- An owner is 'WORKER:CLAIM~NONCE', of an older version 'WORKER:CLAIM'; what was handed back as lost has '-'.
local function worker_of(owner) return string.match(owner, '^(.*):%d+~?%d*$') end
local function job_of(id) return string.match(id, '^([^:]+)') end

-- Queues that hold deliveries, so that a claim need not look into every queue of a catalog. One is noted whenever a
-- delivery comes, and left out by the claim that finds it empty, or the next catalog if nobody serves it any more. What
-- else there is of a queue has a lifetime, longer than the longest of a delivery: queues come and go with their experts.
local noted_queues = {}
local WAKE_MS, TURNS_MS = 86400000, 40 * 86400000

local function note_queue(queue)
  if not noted_queues[queue] then call('SADD', P .. ':queues', queue) end
  noted_queues[queue] = true
end

-- Leave out a queue that holds nothing. Says whether it holds anything.
local function leave_if_empty(queue)
  if call('EXISTS', queue_key(queue, 'ready'), queue_key(queue, 'later'), queue_key(queue, 'leases')) > 0 then return true end
  call('SREM', P .. ':queues', queue)
  noted_queues[queue] = nil
end

-- Wake one worker that waits for this queue. Tokens are few: whoever leaves work behind passes one on.
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
local to_ready, release_gates, money_lost, unpark, wake_waiting, gate_report
