-- pause: an operator stops all grants of a budget.
-- Invariant: until its end, or until it is resumed, no commit grants.
-- KEYS  spec  state  pause
-- ARGV  budget  channel  for (ms, or `-`: until resumed)
-- REPLY 1
-- ERROR NOBUDGET
-- @include lib/args
-- @include lib/clock
-- @include lib/pauses

args.begin()
local budget_name, channel = args.text(), args.text()
announce.open(channel, budget_name)
local span = tonumber(args.text())
local stored = hash.open(KEYS[1])
if not hash.text(stored, 'settings') then
  return redis.error_reply('NOBUDGET no budget of this name')
end
local state = hash.open(KEYS[2])
local now = store_now(state)
local p = pauses.read(KEYS[3], state, now)
pauses.phases().by_operator(p, now, span and now + span)
pauses.flush(p, state, now)
hash.flush(state)
return 1
