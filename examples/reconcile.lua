-- reconcile.lua: before the books are closed: compares all that the vendors' APIs have with what is
-- known, runs the rules for what was found, and says what differed. For cron, or by hand:
--
--   cd /etc/billhook && lua5.4 reconcile.lua rules.lua [ACCOUNT ...]
--
-- `billhook work` and `billhook serve` poll and compare by themselves, so most days nothing is left
-- to be found here. Exit code 0: everything could be compared, and no rule has given up; 1: not,
-- and why. Rules that failed run again, by whoever works next.

local path = table.remove(arg, 1) or "rules.lua"
local app = dofile(path)
local failed = false

local function say(...) io.stderr:write(table.concat({ ... }, " "), "\n") end

app:on_dead(function(event, err)
  failed = true
  say(event.id .. ":", tostring(err))
end)

local names = {}
for name in pairs(app.accounts) do names[#names + 1] = name end
table.sort(names)
if #arg > 0 then names = arg end

for _, account in ipairs(names) do
  local report, err = app:reconcile(account)
  if report then
    print(("%s: %d same, %d changed, %d missing here, %d missing there"):format(account,
      report.same, report.changed, report.missing_here, report.missing_there))
    -- an invoice that the API does not show is looked at again before it is told as deleted
    for _, id in ipairs(report.invoices) do print("  missing there: " .. id) end
  else
    failed = true
    say(account .. ":", tostring(err))
  end
end

-- Where `billhook work` or `serve` runs already, this does a part of their work: no harm is done.
repeat
  local ran, err = app:work()
  if not ran then
    failed = true
    say("inbox:", tostring(err))
  end
until (ran or 0) == 0

os.exit(failed and 1 or 0)
