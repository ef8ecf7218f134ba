-- Who waits at a replica, as it tells in its field of `wait`: an entry a tier, tenant and class,
-- ` <tier>,<tenant>,<class>=x<tenants>:<calls>:<left since or 0>:<got nothing since>:<costs>`; those beyond the ones that are listed
-- are one entry a tier, whose tenant is `*<replica>`.
-- @include lib/number

local contenders = { ENTRY = ' ([^ ,]+),([^ ,]+),([^ =]+)=x(%d+):(%d+):(%d+):(%d+):([%d.]*)' }

function contenders.read(text)
  local list = {}
  for tier, tenant, class, tenants, count, left, since, costs in string.gmatch(text, contenders.ENTRY) do
    -- Calls of one kind find the same room.
    local entry = {
      tier = tier, tenant = tenant, class = class, tenants = tonumber(tenants), count = tonumber(count),
      left = tonumber(left), since = tonumber(since), costs = {}, kind = class .. ':' .. costs,
    }
    for cost in string.gmatch(costs, '%d+') do
      entry.costs[#entry.costs + 1] = tonumber(cost)
    end
    list[#list + 1] = entry
  end
  return list
end

function contenders.text(entry)
  local costs = {}
  for i = 1, #entry.costs do
    costs[i] = int(entry.costs[i])
  end
  return ' ' .. entry.tier .. ',' .. entry.tenant .. ',' .. entry.class .. '=x' .. int(entry.tenants) .. ':' .. int(entry.count)
    .. ':' .. int(entry.left) .. ':' .. int(entry.since) .. ':' .. table.concat(costs, '.')
end
