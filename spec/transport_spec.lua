-- Transports: what is common to them (spec/support/conformance.lua), what a request may be, which
-- one is picked, and the fake.

local peer = require "spec.support.peer"
local conformance = require "spec.support.conformance"
local curl = require "billhook.transport.curl"

local shared = curl.new()

conformance {
  name = "curl",
  describe = describe, it = it, setup = setup, teardown = teardown, before_each = before_each,
  request = function(request) return shared:request(request) end,
  decodes = true, keeps = true,
}

teardown(peer.clean)
