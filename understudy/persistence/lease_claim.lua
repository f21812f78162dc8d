-- KEYS[1] = my session, KEYS[2..] = holder records; ARGV: token, my session id, record ttl in ms, prefix of session keys.
-- Answers {token, 0} when my session is forgotten, else {token, 1, ...} with, for each record, '' when it is mine now, or
-- the id of the live session that holds it. A record of a session without a lease is taken over.
if redis.call('EXISTS', KEYS[1]) == 0 then
  return {ARGV[1], 0}
end
local answer, alive = {ARGV[1], 1}, {}
for i = 2, #KEYS do
  local holder = redis.call('GET', KEYS[i])
  local verdict = ''
  if holder and holder ~= ARGV[2] then
    if alive[holder] == nil then
      alive[holder] = redis.call('EXISTS', ARGV[4] .. holder)
    end
    if alive[holder] == 1 then
      verdict = holder
    end
  end
  if verdict == '' then
    redis.call('SET', KEYS[i], ARGV[2], 'PX', ARGV[3])
  end
  answer[i + 1] = verdict
end
return answer
