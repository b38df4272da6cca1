curl "http://127.0.0.1:9180/apisix/admin/routes" -X PUT \
  -H "X-API-KEY: ${ADMIN_API_KEY}" \
  -d '{
    "id": "ai-proxy-multi-route",
    "uri": "/anything",
    "methods": ["POST"],
    "plugins": {
      "key-auth": {},
      "ai-proxy-multi": {
        "instances": [
          {
            "name": "qwen2.5-32b-instruct-ali-bailian",
            "options": {
              "model": "qwen2.5-32b-instruct"
             },
            "auth": {
              "header": {
                "Authorization": "Bearer {NLB_API_KEY}"
              }
            },
            "override": {
              "endpoint": "https://dashscope.aliyuncs.com/compatible-mode/v1/chat/completions"
            },
            "priority": 1,
            "provider": "openai-compatible",
            "weight": 100
          },
          {
            "name": "qwen2.5-32b-instruct-b",
            "options": {
              "model": "Qwen/Qwen2.5-32B-Instruct"
            },
            "auth": {
              "header": {
                "Authorization": "Bearer {NLB_API_KEY}"
              }
            },
            "override": {
              "endpoint": "http://{CUSTOM_HOST_1}:{CUSTOM_PORT_1}/v1/chat/completions"
            },
            "priority": 5,
            "provider": "openai-compatible",
            "weight": 100
          }
        ]
      },
      "ai-rate-limiting": {
        "instances": [
          {
            "name": "qwen2.5-32b-instruct-ali-bailian",
            "limit": 50000,
            "time_window": 3600
          },
          {
            "name": "qwen2.5-32b-instruct-b",
            "limit": 50000,
            "time_window": 3600
          }
        ],
        "rejected_code": 429,
        "limit_strategy": "total_tokens"
      }
    }
