curl -v -X POST http://127.0.0.1:9080/chat/completions \
  -H "Authorization: Bearer <AIML_API_KEY>" \
  -H "Content-Type: application/json" \
  -d '{"model":"gpt-4","messages":[{"role":"user","content":"ping"}]}'
