-- KEYS[1] = session; ARGV: token, ttl in ms, session id. Answers {token, 1}, or {token, 0} when the session is forgotten:
-- whether it may come back is for PostgreSQL to say.
if redis.call('EXISTS', KEYS[1]) == 0 then
  return {ARGV[1], 0}
end
redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[2])
return {ARGV[1], 1}
