-- Reads ARGV from left to right.

local args = {}

-- From the first one on: an engine may keep what is defined here from call to call.
function args.begin()
  args.at = 0
end

function args.text()
  args.at = args.at + 1
  return ARGV[args.at]
end

function args.num()
  args.at = args.at + 1
  return tonumber(ARGV[args.at])
end

-- A number, or nil for `-`.
function args.optional()
  local text = args.text()
  if text == '-' then
    return nil
  end
  return tonumber(text)
end

-- All that is left, each behind `mark`.
function args.rest(mark)
  local words = {}
  for at = args.at + 1, #ARGV do
    words[#words + 1] = mark .. ARGV[at]
  end
  args.at = #ARGV
  return table.concat(words)
end
