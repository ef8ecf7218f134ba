-- Pauses by scope: `operator`, `budget`, `class:<name>`, `limit:<name>`; here they are read and written. What they are and
-- become is for `phases` to say, which few calls need: most find none.
-- @include lib/hash
-- @late lib/phases

local pauses = {}

function pauses.read(pause_key)
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
  return p
end

local phases = nil

-- What a scope's pause is and becomes.
function pauses.phases()
  phases = phases or late_phases()
  return phases
end

function pauses.flush(p)
  hash.flush(p.h)
end
