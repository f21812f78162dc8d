-- KEYS[1] = holder record; ARGV: token, the session id I saw, the owner according to PostgreSQL, record ttl in ms.
-- Sets the owner if the record still says what I saw; answers {token, 1}, else {token, 0}.
if redis.call('GET', KEYS[1]) == ARGV[2] then
  redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
  return {ARGV[1], 1}
end
return {ARGV[1], 0}
