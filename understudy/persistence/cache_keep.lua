-- KEYS = views; ARGV: ttl in ms, then for each view its version and its content, which is empty when only the version is
-- known. A view is "<version>\n<content>": it gives way to a newer version, and one without content to one with.
for i, key in ipairs(KEYS) do
  local version, content = ARGV[2 * i], ARGV[2 * i + 1]
  local held = string.match(redis.call('GETRANGE', key, 0, 20), '^%d+')
  local newer = not held or tonumber(held) < tonumber(version)
  if not newer and held == version and content ~= '' then
    newer = redis.call('STRLEN', key) == #held + 1
  end
  if newer then
    redis.call('SET', key, version .. '\n' .. content, 'PX', ARGV[1])
  end
end
return 1
