-- Why a group gets less than it asks for, and when what it waits for will be there. Needed where one does.
-- Invariant: the first reason in order of precedence is told, and the moment at which the last of what binds is over.
-- @include lib/limits
-- @include lib/slots

local denial = {}

-- Reasons in order of precedence.
local PRECEDENCE = {
  cost_above_capacity = 1, paused_by_operator = 2, paused_by_upstream = 3, probing = 4, quota_exhausted = 5,
  concurrency_exhausted = 6, reserved = 7, tenant_capped = 8, ramping = 9,
}

-- When `need` (and, of a capped tenant, `own`) will be there if nothing else happens.
local function ready_at(ctx, limit, group, need, own)
  local look = ctx.looks[limit.index]
  -- Where nothing is shared out by name it is the same for all.
  local for_whom = limit.shared and group.tenant .. '|' .. group.tier or ''
  if not look or look.for_whom ~= for_whom or look.need > need then
    look = limit.does.ahead(ctx.state, limit, ctx.now)
    look.for_whom = for_whom
    ctx.looks[limit.index] = look
  end
  look.need = need
  local cap = limits.cap_for(limit, group.tenant)
  repeat
    local held = slots.holder(ctx.state, limit, look.dropped)
    local kept = limits.kept_from(limit, group.tenant, group.tier, held)
    local at = look.ready_at(need + kept, own)
    if at and not (cap and held('tenant:' .. group.tenant) + own > cap) then
      return at
    end
  until not look.step()
  -- More is wanted than ever was: a window's worth a window from here on.
  local span = limit.window or 0
  return look.at + math.ceil((need - limit.n) / math.max(1, limit.n)) * span
end

-- A function that tells when `need`, and what is to be left beside it, will be there.
function denial.when_ready(ctx, limit, group, need, own)
  return function(left)
    return ready_at(ctx, limit, group, need + (left or 0), own)
  end
end

-- As when_ready, but no later than what is left to others is left to them.
function denial.when_left(till, when, left)
  return function()
    return math.min(till, when(left))
  end
end

-- The refusal of those that may not go: the first reason in order of precedence, and the limit that binds longest.
function denial.reason(t)
  local reason, longest, limit, never_known
  for i = 1, #t.binds do
    local bind = t.binds[i]
    if bind.most <= t.may_go then
      local at = bind.at
      if type(at) == 'function' then
        at = at()
      end
      if not reason or PRECEDENCE[bind.reason] < PRECEDENCE[reason] then
        reason = bind.reason
      end
      if not at then
        never_known = true
        limit = bind.limit or limit
      elseif not longest or at > longest then
        longest = at
        limit = (not never_known and bind.limit) or limit
      end
    end
  end
  return reason, limit, not never_known and longest or nil
end

-- Whether those who wait for it are before whoever comes after them.
function denial.is_used_up(bind)
  return not bind.is_kept and (bind.reason == 'quota_exhausted' or bind.reason == 'concurrency_exhausted')
end

-- Takes what the refused ones wait for out of reach of those behind them: nobody overtakes in a limit that is used up.
function denial.hold_back(ctx, group, t, left)
  for i = 1, #t.binds do
    local bind = t.binds[i]
    if bind.most <= t.may_go and not t.is_never then
      for l = 1, #ctx.budget.limits do
        local limit = ctx.budget.limits[l]
        if limit.name == bind.limit and denial.is_used_up(bind) then
          ctx.ahead[l] = ctx.ahead[l] + left * limits.weigh(limit, group.costs[l])
        end
      end
    end
  end
end
