-- index: keeps the list of budgets' names, for listing alone; it is no part of any decision.
-- Invariant: a name stands in it once, in byte order.
-- KEYS  names
-- ARGV  what (add, remove, list)  name (of list: after which, or none)  most (of list, names)
-- REPLY names of list; otherwise 1
-- ERROR NONE
-- @include lib/args

local names_key = KEYS[1]
args.begin()
local what, name = args.text(), args.text()
if what == 'add' then
  redis.call('ZADD', names_key, '0', name)
  return 1
end
if what == 'remove' then
  redis.call('ZREM', names_key, name)
  return 1
end
local from = name == '' and '-' or '(' .. name
return redis.call('ZRANGEBYLEX', names_key, from, '+', 'LIMIT', '0', args.text())
