-- Pauses by scope: `operator`, `budget`, `class:<name>`, `limit:<name>`; here they are read and written. What they are and
-- become is for `phases` to say, which few calls need: most find none.
-- Which scopes are paused, and until when, stands in the state as well: where the server evicted this key alone, they still are.
-- @include lib/hash
-- @include lib/announce
-- @late lib/phases

local pauses = {}

local phases = nil

-- What a scope's pause is and becomes.
function pauses.phases()
  phases = phases or late_phases()
  return phases
end

-- ## lost, while the state knows of it => paused
local function recall(p, state, now)
  local is_lost = false
  for scope, till in string.gmatch(hash.text(state, 'pauses') or '', '(%S+) (%S+)') do
    if till == '-' or tonumber(till) > now then
      pauses.phases().restore(p, scope, now, tonumber(till))
      is_lost = true
    end
  end
  if is_lost then
    announce.say('state_lost')
  end
end

function pauses.read(pause_key, state, now)
  local p = { h = hash.open(pause_key), by_scope = {}, scopes = {} }
  local fields = hash.load_all(p.h)
  for i = 1, #fields do
    local scope, attribute = string.match(fields[i], '^(.*)|(%l+)$')
    local record = p.by_scope[scope]
    if not record then
      record = {}
      p.by_scope[scope] = record
      p.scopes[#p.scopes + 1] = scope
    end
    record[attribute] = tonumber(p.h.have[fields[i]])
  end
  if #p.scopes > 1 then
    -- Servers keep fields in orders of their own.
    table.sort(p.scopes)
  end
  if #fields == 0 then
    recall(p, state, now)
  end
  return p
end

function pauses.flush(p, state, now)
  local kept = {}
  for i = 1, #p.scopes do
    local record = p.by_scope[p.scopes[i]]
    local till = record and record['until']
    if record and (not till or till > now) then
      kept[#kept + 1] = p.scopes[i] .. ' ' .. (till and int(till) or '-')
    end
  end
  local text = #kept > 0 and table.concat(kept, ' ') or nil
  if text ~= hash.text(state, 'pauses') then
    hash.put(state, 'pauses', text)
  end
  hash.flush(p.h)
end
