-- Reads ARGV from left to right.

local args = { at = 0 }

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
