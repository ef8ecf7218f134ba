-- Reads ARGV from left to right.

local args = {}

-- From the first one on: an engine may keep what is defined here from call to call.
function args.begin()
  args.at = 0
end

function args.text()
  local at = args.at + 1
  args.at = at
  return ARGV[at]
end

-- The next `count` texts, which are a group's fixed part.
function args.texts(count)
  local at = args.at
  args.at = at + count
  return unpack(ARGV, at + 1, at + count) -- bound: as many as a caller has names for
end

function args.num()
  local at = args.at + 1
  args.at = at
  return tonumber(ARGV[at])
end

-- A number, or nil for `-`.
function args.optional()
  return tonumber(args.text())
end

-- The whole numbers that a text lists.
function args.list(text)
  local one = tonumber(text)
  if one then
    return { one }
  end
  local list, count = {}, 0
  for number in string.gmatch(text, '%d+') do
    count = count + 1
    list[count] = tonumber(number)
  end
  return list
end

-- All that is left, each behind `mark`.
function args.rest(mark)
  local from = args.at + 1
  args.at = #ARGV
  return from <= #ARGV and mark .. table.concat(ARGV, mark, from) or ''
end
