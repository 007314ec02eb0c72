-- poll.lua: asks the vendors for what no webhook told, and runs the rules. For cron, or a timer of
-- systemd, beside `billhook serve` or in its place (a machine that nobody can reach from outside):
--
--   */5 * * * *  cd /etc/billhook && lua5.4 poll.lua rules.lua admissions tickets
--
-- What a webhook has told already is not run again. DreamApply's journal is read on from where the
-- last poll ended, Betterez tells what it could not invoice, DreamClass has no call for this.

local path = table.remove(arg, 1) or "rules.lua"
local app = dofile(path)
local failed = false

local function say(...) io.stderr:write(table.concat({ ... }, " "), "\n") end

for _, account in ipairs(arg) do
  local found, err = app:poll(account)
  if not found then
    failed = true
    say(account .. ":", tostring(err))
  elseif found > 0 then
    say(account .. ":", ("%d new"):format(found))
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
