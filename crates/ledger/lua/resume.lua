-- resume: an operator ends all pauses of a budget, the upstream's as well, and the wait after a lost state.
-- Invariant: afterwards no scope is paused, probing or ramping, and no limit waits for what was forgotten.
-- KEYS  spec  state  pause
-- ARGV  budget  channel
-- REPLY 1
-- ERROR NOBUDGET
-- @include lib/args
-- @include lib/clock
-- @include lib/spec
-- @include lib/limits
-- @include lib/pauses

args.begin()
local budget_name, channel = args.text(), args.text()
announce.open(channel, budget_name)
local budget = spec.read(KEYS[1])
if not budget then
  return redis.error_reply('NOBUDGET no budget of this name')
end
local state = hash.open(KEYS[2])
local now = store_now(state)
local p = pauses.read(KEYS[3], state, now)
pauses.phases().clear(p)
pauses.flush(p, state, now)
limits.load(state, budget, now)
for l = 1, #budget.limits do
  limits.find(budget.limits[l])
end
limits.save(state, budget)
hash.flush(state)
announce.say('wake')
return 1
