-- powerloss.lua - what a power cut may leave of the files of an inbox.
--
--   local shim = powerloss.shim(folder)
--   local records = powerloss.record(folder, { shim = shim, seed = 7, synchronous = "FULL" })
--   for image in powerloss.images(records, 60, 7) do
--     image.files      { [name] = bytes }
--     image.last       the state that was committed last before the cut, as state() gives it
--     image.tried      the states whose commits began since, failed or not, as a set
--     image.cut        where it was, in words
--   end
--
-- A process works on an inbox, now by one connection, now by another, under powerloss.c, which
-- tells all that is written, cut off, made, deleted, renamed and synced in its folder. Of a file
-- there is in an image
--   * everything up to its last sync before the cut,
--   * of what was written or cut off since: all, nothing, a random part in any order with the last
--     write torn at a 512-byte boundary, or a random part of its 512-byte pieces in any order.
-- With `fail = n` one sync of n fails, as on Linux (powerloss.c says how). Of what it was for, some
-- sectors are on the disk, drawn once for all images. The others stay as they were until something
-- is written to their page of 4096 bytes: only then the kernel takes the page for dirty. With
-- `lives = n` the process is killed at random moments, and another one goes on with what the files
-- hold for who reads them, n of them in all. `what` is another process than one that does anything,
-- a function below; with `plain` SQLite is left to itself (src/durable.c does nothing).
-- Names that were made, deleted or changed are there up to the folder's last sync; of later ones a
-- random number of the first ones. What the -shm says is lost.
-- Not imitated: a disk that says it has synced and has not, that harms bytes beside those it
-- writes, or that changes what it has kept; names that outrun each other within one folder; the
-- attribute by which place.c marks a log: no image has it; a kernel that could not write a page,
-- drops it from its cache, and reads the old one from the disk while the process runs.

local core = require "billhook.core"
local errors = require "billhook.error"
local inbox = require "billhook.inbox"
local process = require "billhook.process"
local sqlite = require "billhook.sqlite"

local M = {}

---What is drawn from a seed, on both Luas: random(), random(n), random(from, to) as math.random.
function M.random(seed)
  local x = seed % 2147483646 + 1
  local function draw()
    x = x * 16807 % 2147483647
    return (x - 1) / 2147483646
  end
  for _ = 1, 5 do draw() end -- seeds that are near each other begin alike
  return function(from, to)
    if not from then return draw() end
    if not to then from, to = 1, from end
    return from + math.floor(draw() * (to - from + 1))
  end
end

-- --- what an inbox says -----------------------------------------------------------

local KEYS = { counters = { "name" }, deliveries = { "account", "id" },
  events = { "account", "id" }, invoices = { "account", "invoice" }, marks = { "seq", "rule" },
  meta = { "name" }, results = { "seq", "rule", "name" }, texts = { "name" } }

local function line_of(name, row)
  local key, all = { name }, {}
  for _, column in ipairs(KEYS[name]) do key[#key + 1] = tostring(row[column]) end
  for column, value in pairs(row) do all[#all + 1] = column .. "=" .. tostring(value) end
  table.sort(all)
  key[#key + 1] = row.state
  key[#key + 1] = core.text.sha256(table.concat(all, "\n")):sub(1, 8)
  return table.concat(key, " ")
end

---All rows of all tables, a line each, sorted; what does not fit a line as a digest.
function M.state(db)
  local lines = {}
  for name in pairs(KEYS) do
    for _, row in ipairs(assert(db:query("SELECT * FROM " .. name))) do
      lines[#lines + 1] = line_of(name, row)
    end
  end
  table.sort(lines)
  return table.concat(lines, "\n")
end

---The lines of a state that another one has not.
function M.missing(state, other)
  local there, gone = {}, {}
  for line in other:gmatch "[^\n]+" do there[line] = true end
  for line in state:gmatch "[^\n]+" do
    if not there[line] then gone[#gone + 1] = line end
  end
  return gone
end

-- --- the processes ---------------------------------------------------------------------

function M.delivery(id, invoice, body)
  return { account = "school", id = id, again = true, vendor = "dreamclass",
    type = "invoice.updated", native = "INVOICE_UPDATED", invoice = invoice, live = true,
    trust = "id", body = body or "{}" }
end

local function bytes() return ("%d "):format(math.random(9999)):rep(math.random(2000)) end

local function marker(path)
  local log = assert(io.open(path, "ab"))
  return function(text)
    log:write(("mark %d\n%s\n"):format(#text, text))
    assert(log:flush())
  end
end

-- The connection, which says what it tries to commit, and that it has.
local function watched(db, options, work)
  assert(db:exec("PRAGMA synchronous = " .. options.synchronous))
  -- small ones, so that the log begins anew and pages leave the cache before their commit
  assert(db:exec(("PRAGMA wal_autocheckpoint = %d; PRAGMA cache_size = %d")
    :format(math.random(5, 120), math.random(4) > 1 and 10 or 4000)))
  return setmetatable({ query = function(_, text, ...)
    if text ~= "COMMIT" then return db:query(text, ...) end
    work.mark("try " .. work.step .. "\n" .. M.state(db))
    local rows, changed, message = db:query(text)
    if rows then work.mark "done" end
    return rows, changed, message
  end }, { __index = function(_, name)
    return function(_, ...) return db[name](db, ...) end
  end })
end

-- Syncs fail from now on, or no longer.
local function failures(options, on)
  if on then
    assert(io.open(options.log .. ".failing", "w")):close()
  else
    assert(os.remove(options.log .. ".failing"))
  end
end

local function open(options, work)
  local store, why
  for _ = 1, options.fail and 20 or 1 do -- a sync that fails may do so here
    store, why = inbox.open(options.url, { clock = function() return work.now end,
      log = function() end })
    if store then break end
  end
  if not store then error(tostring(why)) end
  store.db = watched(store.db, options, work)
  local connect = store.dialect.connect
  function store.dialect:connect()
    local db, code, message = connect(self)
    return db and watched(db, options, work), code, message
  end
  return store
end

local steps = {}

function steps.admit(store, work)
  local list = {}
  for i = 1, math.random(math.random(4) == 1 and 30 or 6) do
    work.ids = work.ids + (math.random(6) == 1 and 0 or 1)
    list[i] = M.delivery("d" .. work.ids, tostring(math.random(12)), bytes())
  end
  assert(store:admit(list))
end

-- Rolled back after it has filled the cache. What is left of it in a buffer below SQLite would be
-- written over what the other connection commits next.
function steps.refused(store)
  local list = {}
  for i = 1, math.random(5, 30) do list[i] = M.delivery("r" .. i, "1", ("r"):rep(5000)) end
  list[#list].trust = nil
  assert(store:admit(list) == nil)
end

function steps.route(store)
  local changes = {}
  for i, one in ipairs(assert(store:incoming("school", math.random(20)))) do
    changes[i] = { account = "school", route = { { seq = one.seq, state = "pending" } } }
  end
  assert(store:apply(changes))
end

function steps.apply(store, work)
  local changes = {}
  for i = 1, math.random(3) do
    local invoice = tostring(math.random(4) + 4 * (i - 1))
    local row = assert(store:look("school", { invoice })).rows[1]
    local version, data = row.version + 1, bytes()
    changes[i] = { account = "school", invoice = invoice, expect = row.stamp, settle = "done",
      began = work.now * 1000, set = { version = version, known = true, data = data },
      events = { { account = "school", id = ("school:%s@%d"):format(invoice, version),
        vendor = "dreamclass", type = "invoice.updated", invoice = invoice, version = version,
        live = true, trust = "api", data = data, rules = { "a", "b" } } } }
  end
  assert(store:apply(changes))
end

function steps.run(store)
  local rows = assert(store:claim { kind = "run", account = "school", owner = "me", lease = 60000,
    limit = math.random(4), page = 8 }).rows
  local ends = { "done", "done", "done", "waiting", "dead" }
  local list = {}
  for i, row in ipairs(rows) do
    for _, event in ipairs(row.events) do
      for _, rule in ipairs(event.rules) do
        local outcome = { seq = event.seq, rule = rule, state = ends[math.random(5)] }
        if outcome.state == "waiting" then outcome.delay, outcome.message = 1000, "later" end
        assert(store:step(event.seq, rule, "asked", bytes()))
        assert(store:mark(row.lane, row.token, outcome))
      end
    end
    list[i] = { lane = row.lane, token = row.token, after = 1000 }
  end
  if #list > 0 then assert(store:release(list)) end
end

function steps.purge(store) assert(store:purge { older_than = math.random(60) }) end

function steps.texts(store, work)
  assert(store:set("text " .. math.random(5), bytes()))
  assert(store:update("quota", function(text) return (text or "") .. "x" end))
  assert(store:count { { name = "n", n = 1, total = work.now } })
  assert(store:ticket())
end

-- Nobody waits for who reads.
local CHECKPOINTS = { "PASSIVE", "FULL", "RESTART", "TRUNCATE" }
function steps.checkpoint(store, work)
  if not store.db then return end -- given up after a failure
  local how = CHECKPOINTS[work.reader and 1 or math.random(4)]
  local rows, code, message = store.db:query(("PRAGMA wal_checkpoint(%s)"):format(how))
  if not rows then error(errors.new { kind = "store", code = code, message = message }, 0) end
end

-- Somebody begins to read, or ends it: meanwhile a checkpoint goes no further than he has read.
function steps.reader(_, work)
  if work.reader then
    work.reader:close()
    work.reader = nil
    return
  end
  work.reader = assert(sqlite.open(work.path, { create = false }))
  work.reader:keep_log()
  assert(work.reader:exec "BEGIN")
  assert(work.reader:query "SELECT COUNT(*) FROM meta")
end

local ORDER = { "admit", "admit", "admit", "route", "route", "apply", "apply", "apply", "run",
  "run", "texts", "refused", "refused", "purge", "checkpoint", "reopen", "reader" }

-- A failure of the disk is none of a step, where the disk is to fail.
local function take(step, store, work, options)
  local ok, why = pcall(step, store, work)
  if ok then return end
  local code = errors.is(why) and why.code or tostring(why)
  if not (options.fail and code:find "SQLITE_IOERR") then error(why, 0) end
end

local function begin(options)
  math.randomseed(options.seed)
  local work = { now = 1700000000 + options.life * 1000, ids = options.life * 1000, step = "open",
    mark = marker(options.log), path = options.path }
  local store = open(options, work)
  work.mark("try open\n" .. M.state(store.db))
  work.mark "done"
  return work, store
end

---A process that does anything; options: url, path, log, seed, synchronous, steps, fail, life.
function M.anything(options)
  local work, store = begin(options)
  local stores = { store, open(options, work) }
  failures(options, true)
  for n = 1, options.steps do
    local name, which = ORDER[math.random(#ORDER)], math.random(2)
    work.step, work.now = ("%d %s"):format(n, name), work.now + math.random(3)
    if name == "reopen" then
      local both = math.random(3) == 1 -- the last one deletes the log
      stores[which]:close()
      if both then
        stores[3 - which]:close()
        stores[3 - which] = open(options, work)
      end
      stores[which] = open(options, work)
    else
      take(steps[name], stores[which], work, options)
    end
  end
  if work.reader then work.reader:close() end
  for _, one in ipairs(stores) do one:close() end
end

local function copy_log(store)
  local rows, code = store.db:query "PRAGMA wal_checkpoint(PASSIVE)"
  return rows or code
end

---A process whose checkpoint is held up by a reader; the sync of the next one fails, and the one
---after that succeeds.
function M.held_up(options)
  local work, store = begin(options)
  assert(store.db:exec "PRAGMA wal_autocheckpoint = 0")
  steps.admit(store, work)
  steps.reader(store, work)
  steps.admit(store, work)
  local before = copy_log(store)[1]
  assert(before.checkpointed > 0 and before.checkpointed < before.log)
  steps.reader(store, work)
  failures(options, true)
  assert(copy_log(store) == "SQLITE_IOERR_FSYNC")
  failures(options, false)
  local after = copy_log(store)[1]
  assert(after.checkpointed == after.log)
  steps.admit(store, work) -- over the log's beginning
end

---A process with a commit whose sync fails, and another one after it.
function M.not_synced(options)
  local work, store = begin(options)
  failures(options, true)
  assert(not pcall(steps.admit, store, work))
  failures(options, false)
  steps.admit(store, work)
end

---Builds powerloss.c; gives its path.
function M.shim(folder)
  local path = folder .. "/powerloss.so"
  local built = os.execute("cc -std=gnu11 -O1 -Wall -Wextra -Werror -shared -fPIC -o " .. path
    .. " spec/support/powerloss.c -ldl")
  assert(built == true or built == 0, "powerloss.c cannot be built")
  return path
end

-- Runs the process once. `kill`: the write or sync at which it is killed, if it comes so far.
local function live(folder, options, life, kill)
  local log, output = folder .. "/log", folder .. "/output"
  local path = folder .. "/files/a.db"
  local text = ("package.path, package.cpath = %q, %q\nrequire('spec.support.powerloss').%s {"
    .. "url = %q, path = %q, log = %q, seed = %d, synchronous = %q, steps = %d, fail = %s, "
    .. "life = %d }"):format(package.path, package.cpath, options.what or "anything",
    "sqlite:" .. path, path, log, options.seed + life, options.synchronous or "FULL",
    options.steps or 60, tostring(options.fail), life)
  local pid = assert(process.spawn({ rawget(_G, "jit") and "luajit" or "lua5.4", "-e", text },
    { stdout = output, stderr = output, env = { POWERLOSS_FOLDER = folder .. "/files",
      POWERLOSS_LOG = log, POWERLOSS_FAIL = options.fail and ("%d"):format(options.fail),
      POWERLOSS_WHILE = log .. ".failing", POWERLOSS_PLAIN = options.plain and "1",
      POWERLOSS_STATE = options.fail and folder .. "/kernel",
      POWERLOSS_SEED = ("%d"):format(options.seed), POWERLOSS_KILL = kill and ("%d"):format(kill),
      LD_PRELOAD = (os.getenv "LD_PRELOAD" or "") .. " " .. options.shim } }))
  local how, code = process.wait(pid)
  if (how ~= "exit" or code ~= 0) and not (kill and how == "signal") then
    error(("POWERLOSS_SEED=%d: the process: %s %s %s"):format(options.seed, how, tostring(code),
      assert(io.open(output)):read "*a"))
  end
end

---@param folder string an empty one
---@param options { shim: string, seed: number, what?: string, synchronous?: string, steps?: number,
---  fail?: number, lives?: number, plain?: boolean }
---@return table records of the log, in order, each { what it was, its words, data }
function M.record(folder, options)
  assert(process.mkdir(folder .. "/files"))
  local lives, random = options.lives or 1, M.random(options.seed)
  for life = 1, lives do
    live(folder, options, life, life < lives and random(100, 1500) or nil)
  end
  local records = M.read(folder .. "/log")
  assert(records[1][1] == "create", "what the process does was not told")
  return records
end

-- --- the log -----------------------------------------------------------------------------

---The records of a log: { kind, word, word, word, data = bytes }.
function M.read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "*a"
  file:close()
  local records, at = {}, 1
  while at <= #text do
    local stop = assert(text:find("\n", at, true))
    local one = {}
    for word in text:sub(at, stop - 1):gmatch "%S+" do one[#one + 1] = tonumber(word) or word end
    at = stop + 1
    local length = one[1] == "write" and one[4] or one[1] == "mark" and one[2]
    if length then
      one.data = text:sub(at, at + length - 1)
      at = at + length + 1
    end
    records[#records + 1] = one
  end
  return records
end

-- --- what a file holds, by its sectors --------------------------------------------------------

local SECTOR, PAGE = 512, 4096
local ZEROS = ("\0"):rep(SECTOR)

local function put(content, at, data)
  local stop = at + #data
  for i = math.floor(at / SECTOR), math.floor((stop - 1) / SECTOR) do
    local start = i * SECTOR
    local from, to = math.max(at, start), math.min(stop, start + SECTOR)
    local piece, old = data:sub(from - at + 1, to - at), content[i] or ZEROS
    content[i] = old:sub(1, from - start) .. piece .. old:sub(to - start + 1)
  end
  content.size = math.max(content.size, stop)
end

local function resize(content, size)
  for i = math.floor(size / SECTOR), math.floor(content.size / SECTOR) do
    local kept = math.max(0, size - i * SECTOR)
    content[i] = kept > 0 and content[i] and content[i]:sub(1, kept) .. ZEROS:sub(kept + 1) or nil
  end
  content.size = size
end

local function change(content, one)
  if one.data then put(content, one.at, one.data) else resize(content, one.size) end
end

local function copy(content)
  local out = {}
  for i, sector in pairs(content) do out[i] = sector end
  return out
end

local function bytes_of(content)
  local out = {}
  for i = 0, math.ceil(content.size / SECTOR) - 1 do out[i + 1] = content[i] or ZEROS end
  return table.concat(out):sub(1, content.size)
end

-- --- what is left of what was not synced --------------------------------------------------------

local function some(list, random)
  local out, rate = {}, random()
  for _, one in ipairs(list) do
    if random() < rate then table.insert(out, random(#out + 1), one) end
  end
  return out
end

-- the write up to a boundary, where it has one
local function torn(one, random)
  local first = SECTOR - one.at % SECTOR
  if first >= #one.data then return one end
  local length = first + SECTOR * random(0, math.floor((#one.data - 1 - first) / SECTOR))
  return { at = one.at, data = one.data:sub(1, length) }
end

local function pieces(list)
  local out = {}
  for _, one in ipairs(list) do
    local from = 1
    while one.data and from <= #one.data do
      local at = one.at + from - 1
      local length = SECTOR - at % SECTOR
      out[#out + 1] = { at = at, data = one.data:sub(from, from + length - 1) }
      from = from + length
    end
    if not one.data then out[#out + 1] = one end
  end
  return out
end

local fates = {
  function(list) return list end,
  function() return {} end,
  function(list, random)
    list = some(list, random)
    local last = list[#list]
    if last and last.data and random(2) == 1 then list[#list] = torn(last, random) end
    return list
  end,
  function(list, random) return some(pieces(list), random) end,
}

local function left_of(file, random)
  local content = copy(file.content)
  for _, one in ipairs(fates[random(#fates)](file.pending, random)) do change(content, one) end
  return bytes_of(content)
end

-- --- the images --------------------------------------------------------------------------------

local function rename(names, one)
  local kind, first, second = one[1], one[2], one[3]
  if kind == "create" then names[second] = one.file end
  if kind == "rename" then names[second] = names[first] end
  if kind ~= "create" then names[first] = nil end
end

local function image_of(disk)
  local names, files, random = copy(disk.names), {}, disk.random
  for i = 1, random(0, #disk.renamed) do rename(names, disk.renamed[i]) end
  local sorted = {}
  for name in pairs(names) do sorted[#sorted + 1] = name end
  table.sort(sorted)
  for _, name in ipairs(sorted) do
    files[name] = left_of(names[name], random)
    if name:find "-shm$" then
      files[name] = string.char(random(0, 255)):rep(#files[name])
    end
  end
  return files
end

local apply = {}

function apply.create(disk, one)
  -- what the disk holds, what those who read it see, what was changed since its last sync, and
  -- which sectors are another on the disk although the kernel takes them for written
  one.file = { content = { size = 0 }, cache = { size = 0 }, pending = {}, lost = {} }
  disk.files[one[2]] = one.file
  table.insert(disk.renamed, one)
end

function apply.rename(disk, one) table.insert(disk.renamed, one) end
apply.unlink = apply.rename

function apply.write(disk, one)
  local file, at, stop = disk.files[one[2]], one[3], one[3] + #one.data
  -- the whole pages are dirty now
  local from, to = math.floor(at / PAGE) * PAGE, math.ceil(stop / PAGE) * PAGE
  for i = from / SECTOR, to / SECTOR - 1 do
    if file.lost[i] then
      file.lost[i] = nil
      table.insert(file.pending, { at = i * SECTOR, data = file.cache[i] or ZEROS })
    end
  end
  put(file.cache, at, one.data)
  table.insert(file.pending, { at = at, data = one.data })
end

function apply.size(disk, one)
  local file = disk.files[one[2]]
  for i in pairs(file.lost) do
    if (i + 1) * SECTOR > one[3] then file.lost[i] = nil end
  end
  resize(file.cache, one[3])
  table.insert(file.pending, { size = one[3] })
end

function apply.sync(disk, one)
  local file = disk.files[one[2]]
  for _, each in ipairs(file.pending) do change(file.content, each) end
  file.pending = {}
end

-- Sizes are the file system's own: it stops altogether where it cannot write these.
function apply.failed(disk, one)
  local file, rate = disk.files[one[2]], disk.fate()
  local touched = {}
  for _, each in ipairs(pieces(file.pending)) do
    if not each.data or disk.fate() < rate then change(file.content, each) end
    if each.data then touched[math.floor(each.at / SECTOR)] = true end
  end
  for i in pairs(touched) do
    if i * SECTOR < file.cache.size and file.content[i] ~= file.cache[i] then
      file.lost[i] = true
    end
  end
  file.pending = {}
end

function apply.folder(disk)
  for _, each in ipairs(disk.renamed) do rename(disk.names, each) end
  disk.renamed = {}
end

local function tried_in(one) return one.data:match "^try ([^\n]*)\n(.*)$" end

function apply.mark(disk, one)
  local step, state = tried_in(one)
  if state then
    disk.step, disk.trying = step, state
    disk.tried[state] = true
  elseif disk.trying ~= disk.last then -- else what failed before it was not written over
    disk.last, disk.tried = disk.trying, {}
  end
end

function apply.other(_, one) error("a change that is not imitated: " .. table.concat(one, " ")) end

-- Half of them right after a commit has returned, when nothing else may have synced it yet.
local function cuts(records, n, random, last)
  local marks, list = {}, {}
  for i, one in ipairs(records) do
    if one[1] == "mark" and one.data == "done" then marks[#marks + 1] = i end
  end
  for i = 1, n do
    list[i] = i % 2 == 0 and marks[random(#marks)] or random(0, #records)
    if last then list[i] = #records end
  end
  table.sort(list)
  return list
end

---@param records table of record()
---@param n number of images, at random moments
---@param seed number
---@param last? boolean all of them after the last record
---@return function that gives the next image, or nil
function M.images(records, n, seed, last)
  local disk = { files = {}, names = {}, renamed = {}, step = "nothing", tried = {},
    random = M.random(seed), fate = M.random(seed + 1) }
  for _, one in ipairs(records) do
    if one[1] == "mark" then
      disk.last = select(2, tried_in(one)) -- an inbox without anything in it
      break
    end
  end
  local list, done, nth = cuts(records, n, disk.random, last), 0, 0
  return function()
    nth = nth + 1
    if not list[nth] then return nil end
    for i = done + 1, list[nth] do apply[records[i][1]](disk, records[i]) end
    done = list[nth]
    return { files = image_of(disk), last = disk.last, tried = disk.tried,
      cut = ("record %d of %d, after step %s"):format(done, #records, disk.step) }
  end
end

return M
