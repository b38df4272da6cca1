curl "http://127.0.0.1:9180/apisix/admin/consumers" -X PUT \
  -H "X-API-KEY: ${ADMIN_API_KEY}" \
  -d '{
    "username": "consumer_a",
    "plugins": {
      "key-auth": {
        "key": "consumer_a_key"
      },
      "ai-consumer-rate-limiting": {
        "instances": [
          {
            "name": "qwen2.5-32b-instruct-ali-bailian",
            "limit_strategy": "total_tokens",
            "limit": 10000,
            "time_window": 3600
          },
          {
            "name": "qwen2.5-32b-instruct-b",
            "limit_strategy": "total_tokens", 
            "limit": 10000,
            "time_window": 3600
          }
        ],
        "rejected_code": 429,
        "rejected_msg": "Insufficient token, try in one hour"
      }
    }
  }'
