-- knows: whether there is a budget of this name. Writes nothing, and costs a fraction of what `get` does: every replica asks
-- again and again whether the store still knows what was declared.
-- Invariant: it says yes where `get` finds one.
-- KEYS  spec
-- ARGV  none
-- REPLY 1 if there is one, otherwise 0
-- ERROR NONE

local spec_key = KEYS[1]
-- With a command that the other scripts use: it asks for no right of its own.
local settings = redis.call('HMGET', spec_key, 'settings')
return settings[1] and 1 or 0
