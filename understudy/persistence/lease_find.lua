-- KEYS: own:<process>.. ARGV: token, prefix of session keys. Per process the session that holds it, if its lease lives.
local answer, alive = {ARGV[1]}, {}
for index = 1, #KEYS do
  local holder = redis.call('GET', KEYS[index])
  if holder and alive[holder] == nil then
    alive[holder] = redis.call('EXISTS', ARGV[2] .. holder) == 1
  end
  answer[index + 1] = holder and alive[holder] and holder or ''
end
return answer
