-- What is out of a window though its time to be sent was over when the permit was granted whose reading `fresh` is: what of it
-- was sent at all had executed before that reading was taken, which counts it. It is not taken off once more.
-- Invariant: limit.overdue is the sum of what is out in the slots up to limit.overdue_to, and these are over by the grant of the
-- permit that was `fresh` last; both nil where that is nothing.
-- @include lib/slots

local overdue = {}

overdue.fields = { 'overdue', 'overdue_to' }
overdue.is_real = {}

-- ## any => what is out of before `granted_at`: that of the permit that is `fresh` from now on.
function overdue.look(state, limit, granted_at)
  local to, from = math.floor(granted_at / limit.slot), limit.overdue_to
  if from and to < from then
    overdue.forget(limit)
    from = nil
  end
  local sum = (limit.overdue or 0) + slots.sum(state, limit, 'out', from or 0, to)
  limit.overdue, limit.overdue_to = sum > 0 and sum or nil, sum > 0 and to or nil
end

function overdue.forget(limit)
  limit.overdue, limit.overdue_to = nil, nil
end

-- Whether a permit, to be sent by `send_by`, is of it.
function overdue.has(limit, send_by)
  return limit.overdue_to and math.ceil(send_by / limit.slot) <= limit.overdue_to
end

-- `cost` of it is out no more.
function overdue.drop(limit, cost)
  if limit.overdue > cost then
    limit.overdue = limit.overdue - cost
  else
    overdue.forget(limit)
  end
end

-- The slots that are swept are the first ones: `cost` was in them.
function overdue.sweep(limit, cost)
  if limit.overdue_to and cost > 0 then
    overdue.drop(limit, limit.out_low >= limit.overdue_to and limit.overdue or cost)
  end
end

-- `fresh` as it counts towards what is out as a whole; nil where it is not known.
function overdue.beside(limit, fresh)
  return fresh and fresh + (limit.overdue or 0)
end
