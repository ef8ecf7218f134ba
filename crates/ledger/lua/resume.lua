-- resume: an operator ends all pauses of a budget, the upstream's as well.
-- Invariant: afterwards no scope is paused, probing or ramping.
-- KEYS  spec  pause
-- ARGV  budget  channel
-- REPLY 1
-- ERROR NOBUDGET
-- @include lib/args
-- @include lib/pauses

local budget_name, channel = args.text(), args.text()
announce.open(channel, budget_name)
local stored = hash.open(KEYS[1])
if not hash.text(stored, 'limits') then
  return redis.error_reply('NOBUDGET no budget of this name')
end
local p = pauses.read(KEYS[2])
pauses.clear(p)
pauses.flush(p)
announce.say('wake')
return 1
