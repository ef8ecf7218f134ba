-- Announcements to all replicas: hints, never needed for correctness.
-- A message is `budget \n kind \n value \n value ...`.
-- @include lib/number

local announce = { channel = nil, budget = nil }

function announce.open(channel, budget_name)
  announce.channel, announce.budget = channel, budget_name
end

-- Says nothing where no channel is open: a script that only reads announces nothing.
function announce.say(kind, ...)
  if not announce.channel then
    return
  end
  local message = announce.budget .. '\n' .. kind
  local values = { ... }
  for i = 1, #values do
    local value = values[i]
    message = message .. '\n' .. (type(value) == 'number' and int(value) or value)
  end
  -- Without the right to say it a commit must not be lost.
  redis.pcall('PUBLISH', announce.channel, message)
end
