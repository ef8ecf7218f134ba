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
