-- Spreads add_item over 1,000 carts and prints what was seen as one line of JSON.
-- Arguments after `--`: the path before and after the cart's id.

local before, after = "/components/cart/", "/add_item"
local number = 0
local body = '{"sku":"sku-3","quantity":1}'
local headers = { ["content-type"] = "application/json" }

function init(args)
   before = args[1] or before
   after = args[2] or after
end

function request()
   number = (number + 1) % 1000
   return wrk.format("POST", before .. "cart-" .. number .. after, headers, body)
end

function done(summary, latency, requests)
   local errors = summary.errors
   io.write(string.format(
      '{"requests":%d,"microseconds":%d,"failed":%d,"broken":%d,"p50":%.3f,"p95":%.3f,"p99":%.3f}\n',
      summary.requests, summary.duration, errors.status,
      errors.connect + errors.read + errors.write + errors.timeout,
      latency:percentile(50) / 1000, latency:percentile(95) / 1000, latency:percentile(99) / 1000))
end
