-- recover: a replica remembers more than the state knows: the store came back empty or older.
-- Invariant: afterwards nothing is granted on what was forgotten. Each limit waits until all that may be under way has been
-- sent, then one probe's reading says where it stands; without readings it waits a whole window. Pauses go on. Where the
-- declaration is gone as well the state keeps that it was lost: `put` then begins with limits that are.
-- KEYS  spec  state  pause
-- ARGV  budget  channel  witness  jitter (0 to 1)  latest (ms or `-`)  what the replica remembers: incarnation  sequence  time (ms)
--   deadline (ms)  number of pauses, each: scope  until (ms, or `-`: until resumed)
-- REPLY {incarnation, sequence, now (ms)}
-- ERROR NOBUDGET
-- @include lib/args
-- @include lib/clock
-- @include lib/life
-- @include lib/spec
-- @include lib/limits
-- @include lib/pauses

args.begin()
local budget_name, channel, witness, jitter = args.text(), args.text(), args.text(), args.num()
local latest = args.optional()
local incarnation, seq, seen_at, deadline = args.text(), args.num(), args.num(), args.num()

local budget, stored = spec.read(KEYS[1])
if not budget and stored.have['version'] then
  return redis.error_reply('NOBUDGET no budget of this name')
end
announce.open(channel, budget_name)
local state = hash.open(KEYS[2])
life.load(state)
local now = store_now(state, latest)
if now < seen_at and not (latest and seen_at > latest) then
  -- Time goes on from what the replica saw.
  hash.put_int(state, 'clock.skew', (hash.num(state, 'clock.skew') or 0) + seen_at - now)
  now = seen_at
end
local is_known = hash.text(state, 'life') and life.went_before(state, incarnation)
if life.is_behind(state, incarnation, seq, witness) then
  if not is_known then
    life.begin_anew(state, incarnation, seq, now, jitter)
    announce.say('state_lost')
  end
  -- What others granted is not known; nobody's permit is longer than the longest that was told, or than usual.
  local settled_by = deadline
  if not is_known then
    settled_by = math.max(deadline, life.deadline(state), now + (budget and budget.permit_ttl or 0))
  end
  life.grant(state, settled_by)
  if budget then
    limits.load(state, budget, now)
    limits.lose_all(state, budget, settled_by, now, is_known)
    limits.save(state, budget)
  end
end
local p = pauses.read(KEYS[3], state, now)
for _ = 1, args.num() do
  local scope, till = args.text(), args.optional()
  pauses.phases().restore(p, scope, now, till)
end
pauses.flush(p, state, now)
life.note(state, witness)
hash.flush(state)
return { hash.text(state, 'life'), int(hash.num(state, 'life.seq')), int(now) }
