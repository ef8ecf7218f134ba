-- delete: forgets a budget; its version goes on if it is declared again.
-- Invariant: afterwards no commit finds a budget here, and permits that are out are unknown.
-- KEYS  spec  state  pause  use  wait  asked0  asked1
-- ARGV  budget  channel
-- REPLY 1 if there was one, otherwise 0
-- ERROR NONE
-- @include lib/args
-- @include lib/announce
-- @include lib/hash

-- A deleted budget's version is remembered for so long: ms.
local REMEMBERED = 86400000

args.begin()
local budget_name, channel = args.text(), args.text()
announce.open(channel, budget_name)
local stored = hash.open(KEYS[1])
hash.load(stored, { 'version', 'settings' })
if not stored.have['settings'] then
  return 0
end
local spec_key = KEYS[1]
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5])
redis.call('UNLINK', KEYS[6], KEYS[7])
redis.call('HSET', spec_key, 'version', stored.have['version'])
redis.call('PEXPIRE', spec_key, int(REMEMBERED))
announce.say('deleted')
return 1
